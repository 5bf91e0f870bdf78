//! The generator of all random numbers, written from its publication.

/// Four words of Philox 4x32-10 (Salmon et al.: Parallel random numbers, as easy as 1, 2, 3; SC 2011).
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let (a, b) = (0xd251_1f53 * u64::from(counter[0]), 0xcd9e_8d57 * u64::from(counter[2]));
        let high = |x: u64| (x >> 32) as u32;
        counter = [high(b) ^ counter[1] ^ key[0], b as u32, high(a) ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

fn block(seed: u64, block: usize) -> [u32; 4] {
    philox([block as u32, 0, 0, 0], [seed as u32, (seed >> 32) as u32])
}

/// The 32 bits of element `i` under a seed.
pub fn word(seed: u64, i: usize) -> u32 {
    block(seed, i / 4)[i % 4]
}

/// The 16 bits of element `i` under a seed: eight elements to a block, the low half of each word first.
pub fn half_word(seed: u64, i: usize) -> u32 {
    block(seed, i / 8)[i % 8 / 2] >> (16 * (i % 2)) & 0xffff
}
