//! Philox 4x32-10 and what is made of it: the twin of `kernels/random.cu`, operation by operation, so that every device
//! gives the same bits. The steps and their sources stand there.
#![expect(
    clippy::excessive_precision,
    clippy::unreadable_literal,
    reason = "coefficients as they were published"
)]

use bytemuck::Pod;

/// Blocks that are computed side by side, in vector registers.
const LANES: usize = 16;

/// The multipliers of a round.
const A: u32 = 0xD251_1F53;
const B: u32 = 0xCD9E_8D57;

/// The four words of several blocks: word `w` of lane `l` is `[w][l]`.
#[inline(always)]
fn words_of(seed: u64, blocks: [u64; LANES]) -> [[u32; LANES]; 4] {
    let mut c = [blocks.map(low), blocks.map(high), [0; LANES], [0; LANES]];
    let [mut k0, mut k1] = [low(seed), high(seed)];
    for _ in 0..10 {
        let mut next = [[0; LANES]; 4];
        for l in 0..LANES {
            let [a, b] = [c[0][l], c[2][l]];
            next[0][l] = high(u64::from(B) * u64::from(b)) ^ c[1][l] ^ k0;
            next[1][l] = B.wrapping_mul(b);
            next[2][l] = high(u64::from(A) * u64::from(a)) ^ c[3][l] ^ k1;
            next[3][l] = A.wrapping_mul(a);
        }
        c = next;
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    c
}

/// The 16 bits of every `step`-th element from number `first` on: half-word `e % 8` of block `e / 8`, the low half of each
/// word first.
#[inline(always)]
pub(crate) fn half_words(seed: u64, first: u64, step: u64, out: &mut [u16]) {
    if step != 1 {
        let halves = |(i, out): (usize, &mut [u16])| {
            let number: [u64; LANES] = std::array::from_fn(|l| first + (i * LANES + l) as u64 * step);
            let words = words_of(seed, number.map(|e| e / 8));
            for (l, out) in out.iter_mut().enumerate() {
                let half = number[l] % 8;
                *out = (words[(half / 2) as usize][l] >> (16 * (half % 2))) as u16;
            }
        };
        return out.chunks_mut(LANES).enumerate().for_each(halves);
    }
    let mut halves = [0; 8 * LANES];
    let (mut block, mut skip, mut rest) = (first / 8, (first % 8) as usize, out);
    while !rest.is_empty() {
        let words = words_of(seed, std::array::from_fn(|l| block + l as u64));
        for (l, halves) in halves.chunks_exact_mut(8).enumerate() {
            for (w, pair) in halves.chunks_exact_mut(2).enumerate() {
                pair.copy_from_slice(&[words[w][l] as u16, (words[w][l] >> 16) as u16]);
            }
        }
        let (now, later) = rest.split_at_mut(rest.len().min(halves.len() - skip));
        now.copy_from_slice(&halves[skip..][..now.len()]);
        (block, skip, rest) = (block + LANES as u64, 0, later);
    }
}

#[inline(always)]
fn low(x: u64) -> u32 {
    x as u32
}

#[inline(always)]
fn high(x: u64) -> u32 {
    (x >> 32) as u32
}

/// Numbers of the blocks that are computed side by side.
pub(crate) const GROUP: usize = 4 * LANES;

/// What `f` makes of the first and the second word of every pair, from a block on.
#[inline(always)]
pub(crate) fn pairs<T: Pod>(seed: u64, block: u64, out: &mut [T; GROUP], f: impl Fn(u32, u32) -> [T; 2]) {
    let words = words_of(seed, std::array::from_fn(|l| block + l as u64));
    let mut made = [[T::zeroed(); LANES]; 4];
    for l in 0..LANES {
        [made[0][l], made[1][l]] = f(words[0][l], words[1][l]);
        [made[2][l], made[3][l]] = f(words[2][l], words[3][l]);
    }
    for l in 0..LANES {
        for w in 0..4 {
            out[4 * l + w] = made[w][l];
        }
    }
}

/// A number uniform in `[0, 1)`, a multiple of 2^-24.
#[inline(always)]
pub(crate) fn uniform(x: u32) -> f32 {
    (x >> 8) as i32 as f32 * UNIT
}

/// 2^-24.
const UNIT: f32 = 1.0 / 16_777_216.0;

/// Box and Muller's pair of numbers of the standard normal distribution, from two words.
#[inline(always)]
pub(crate) fn normal2(x: u32, y: u32) -> [f32; 2] {
    let u = ((x >> 8) + 1) as i32 as f32 * UNIT;
    let r = (-2.0 * natural_log(u)).sqrt();
    let (cos, sin) = turn(y >> 8);
    [r * cos, r * sin]
}

/// The logarithm of a normal number in `(0, 1]`, by the polynomial of Cephes' `logf`.
#[inline(always)]
fn natural_log(u: f32) -> f32 {
    const P: [f32; 9] = [
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    ];
    let bits = u.to_bits();
    let half = f32::from_bits(bits & 0x007f_ffff | 0x3f00_0000);
    let low = half < std::f32::consts::FRAC_1_SQRT_2;
    let e = (bits >> 23) as i32 - 126 - i32::from(low);
    let m = if low { half + half } else { half };
    let t = m - 1.0;
    let z = t * t;
    let p = P[1..].iter().fold(P[0], |p, &next| p.mul_add(t, next));
    let e = e as f32;
    let l = (p * t) * z;
    let l = e.mul_add(-2.12194440e-4, l);
    let l = (-0.5f32).mul_add(z, l);
    let l = t + l;
    e.mul_add(0.693359375, l)
}

/// Cosine and sine of `j / 2^24` of a whole turn, by the polynomials of Cephes' `sinf` and `cosf`.
#[inline(always)]
fn turn(j: u32) -> (f32, f32) {
    let q = (j + (1 << 21)) >> 22;
    // 2 pi / 2^24
    let a = (j as i32 - (q << 22) as i32) as f32 * 3.7450703e-7;
    let w = a * a;
    let s = (-1.9515295891e-4f32).mul_add(w, 8.3321608736e-3).mul_add(w, -1.6666654611e-1);
    let s = (s * w).mul_add(a, a);
    let c = 2.443315711809948e-5f32.mul_add(w, -1.388731625493765e-3).mul_add(w, 4.166664568298827e-2);
    let c = (c * w).mul_add(w, (-0.5f32).mul_add(w, 1.0));
    let (cos, sin) = if q & 1 == 0 { (c, s) } else { (-s, c) };
    if q & 2 == 0 { (cos, sin) } else { (-cos, -sin) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The four words of a block under a key.
    fn philox(counter: [u32; 4], [mut k0, mut k1]: [u32; 2]) -> [u32; 4] {
        let mut c = counter;
        for _ in 0..10 {
            let a = 0xD251_1F53 * u64::from(c[0]);
            let b = 0xCD9E_8D57 * u64::from(c[2]);
            c = [high(b) ^ c[1] ^ k0, low(b), high(a) ^ c[3] ^ k1, low(a)];
            k0 = k0.wrapping_add(0x9E37_79B9);
            k1 = k1.wrapping_add(0xBB67_AE85);
        }
        c
    }

    /// The four words of elements `4 * block` to `4 * block + 3`.
    fn words(seed: u64, block: u64) -> [u32; 4] {
        philox([low(block), high(block), 0, 0], [low(seed), high(seed)])
    }

    /// The known answers that Random123 1.14 publishes in `tests/kat_vectors`.
    #[test]
    fn known_answers() {
        let ones = u32::MAX;
        for (counter, key, want) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([ones; 4], [ones; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox(counter, key), want);
        }
    }

    #[test]
    fn half_words_are_those_of_the_words() {
        let half = |seed, e: u64| (words(seed, e / 8)[(e % 8 / 2) as usize] >> (16 * (e % 2))) as u16;
        for (seed, first, step, n) in [
            (0, 0, 1, 4096),
            (7, 5, 1, 300),
            (u64::MAX, (1 << 35) - 3, 1, 40),
            (9, 3, 5, 100),
            (9, 8, 4096, 33),
        ] {
            let mut got = vec![0; n];
            half_words(seed, first, step, &mut got);
            assert!(got.iter().enumerate().all(|(i, &x)| x == half(seed, first + i as u64 * step)));
        }
    }

    /// A group holds the words of its blocks in order.
    #[test]
    fn groups_are_blocks() {
        let mut group = [0; GROUP];
        let first = u64::from(u32::MAX) - 3;
        pairs(5, first, &mut group, |x, y| [x, y]);
        for (block, four) in (first..).zip(group.chunks(4)) {
            assert_eq!(four, philox([low(block), high(block), 0, 0], [5, 0]));
        }
    }

    #[test]
    fn the_logarithm_is_close() {
        let largest = 1 << 24;
        let samples = (1..5000).chain((1..largest).step_by(977)).chain(largest - 5000..=largest);
        for u in samples.map(|k| k as f32 * UNIT) {
            let (got, want) = (f64::from(natural_log(u)), f64::from(u).ln());
            assert!((got - want).abs() <= 1.2e-7 * want.abs().max(1e-10), "ln {u}: {got} for {want}");
        }
    }

    #[test]
    fn the_turn_is_close_and_on_the_circle() {
        for j in (0..1 << 24).step_by(101).chain([1 << 21, 3 << 21, 1 << 22, 1 << 23, (1 << 24) - 1]) {
            let ((cos, sin), angle) = (turn(j), f64::from(j) / f64::from(1 << 24) * std::f64::consts::TAU);
            let worst = (f64::from(cos) - angle.cos()).abs().max((f64::from(sin) - angle.sin()).abs());
            assert!(worst < 1.2e-7, "{j}: off by {worst}");
        }
        assert_eq!((turn(0), turn(1 << 22), turn(1 << 23)), ((1.0, 0.0), (-0.0, 1.0), (-1.0, -0.0)));
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let blocks = 1 << 16;
        let moments = |f: fn(u32, u32) -> [f32; 2]| {
            let groups = (0..blocks).step_by(LANES);
            let group = |block| {
                let mut out = [0.0; GROUP];
                pairs(7, block, &mut out, f);
                out
            };
            let all = groups.flat_map(group).map(f64::from);
            let (sum, squares) = all.fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
            let n = f64::from(1 << 18);
            (sum / n, squares / n - (sum / n).powi(2))
        };
        // Five standard errors of the mean and of the variance.
        let (mean, variance) = moments(|x, y| [uniform(x), uniform(y)]);
        assert!((mean - 0.5).abs() < 2.9e-3 && (variance - 1.0 / 12.0).abs() < 7.3e-4, "{mean} {variance}");
        let (mean, variance) = moments(normal2);
        assert!(mean.abs() < 9.8e-3 && (variance - 1.0).abs() < 1.4e-2, "{mean} {variance}");
    }

    #[test]
    fn the_ends_stay_finite() {
        // The smallest u gives the largest normal; u = 1 gives 0.
        let [z0, z1] = normal2(0, 0);
        assert!((z0 - 5.767_9).abs() < 1e-3 && z1 == 0.0);
        assert_eq!(normal2(u32::MAX, 0)[0].abs(), 0.0);
        assert!([0, u32::MAX].map(uniform).iter().all(|u| (0.0..1.0).contains(u)));
    }
}
