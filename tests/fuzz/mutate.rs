//! Inputs that are almost right: valid files, and small damage.

use taut_tests::Rng;

/// What stands in headers, and what should not.
const WORDS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "'",
    "(",
    ")",
    "()",
    "null",
    "true",
    "-",
    ".5",
    "e9",
    "L",
    " ",
    "\n",
    "\0",
    "\u{e9}",
    "\"dtype\"",
    "\"shape\"",
    "\"data_offsets\"",
    "\"__metadata__\"",
    "'descr'",
    "'fortran_order'",
    "'shape'",
    "True",
    "False",
    "F32",
    "BOOL",
    "F4",
    "C64",
    "<f8",
    "|b1",
    ">i4",
    "|O",
    "\\u0000",
];

/// Numbers at which something may overflow, wrap or be empty.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    9,
    16,
    255,
    1 << 31,
    1 << 32,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX - 7,
    u64::MAX,
];

/// A valid safetensors file: some tensors, in any order, with or without space and metadata.
pub(super) fn safetensors(rng: &mut Rng) -> Vec<u8> {
    let (mut parts, mut data) = (Vec::new(), Vec::new());
    for i in 0..rng.below(4) {
        let (dtype, bytes) =
            [("F32", 4), ("F64", 8), ("BF16", 2), ("I32", 4), ("BOOL", 1), ("U8", 1), ("C64", 8)]
                [rng.below(7)];
        let shape: Vec<usize> = (0..rng.below(4)).map(|_| rng.below(4)).collect();
        let start = data.len();
        let n = shape.iter().product::<usize>() * bytes;
        let most = if dtype == "BOOL" { 2 } else { 256 };
        data.extend((0..n).map(|_| rng.below(most) as u8));
        let mut keys = [
            format!("\"dtype\":\"{dtype}\""),
            format!("\"shape\":{shape:?}"),
            format!("\"data_offsets\":[{start},{}]", data.len()),
        ];
        keys.rotate_left(rng.below(3));
        parts.push(format!(
            "\"{}{i}\": {{{}}}",
            WORDS[rng.below(7)].replace(['"', '\\'], "q"),
            keys.join(", ")
        ));
    }
    if rng.below(3) == 0 {
        parts.push(r#""__metadata__":{"format":"pt"}"#.into());
    }
    let turn = rng.below(parts.len() + 1);
    parts.rotate_left(turn);
    let header = format!("{{{}}}{}", parts.join(","), " ".repeat(rng.below(9)));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// `input` with up to four pieces of damage. The length of a header is most often made right again, so that what is behind it
/// is looked at.
pub(super) fn mutated(input: &[u8], corpus: &[&[u8]], rng: &mut Rng) -> Vec<u8> {
    let npy = input.starts_with(b"\x93NUMPY");
    let (prefix, width) = match input.get(6) {
        Some(1) if npy => (10, 2),
        Some(_) if npy => (12, 4),
        _ => (8, 8),
    };
    let prefix = prefix.min(input.len());
    let len = input[prefix - width.min(prefix)..prefix]
        .iter()
        .rev()
        .fold(0u64, |len, &byte| len << 8 | u64::from(byte));
    let header = usize::try_from(len).unwrap_or(usize::MAX).min(input.len() - prefix);
    let (head, data) = input[prefix..].split_at(header);
    let (mut prefix, mut head, mut data) = (input[..prefix].to_vec(), head.to_vec(), data.to_vec());
    for _ in 0..=rng.below(4) {
        match rng.below(16) {
            0 => damage(&mut data, corpus, rng),
            1 => damage(&mut prefix, corpus, rng),
            _ => damage(&mut head, corpus, rng),
        }
    }
    if rng.below(8) > 0 && prefix.len() >= width {
        let at = prefix.len() - width;
        prefix[at..].copy_from_slice(&(head.len() as u64).to_le_bytes()[..width]);
    }
    [prefix, head, data].concat()
}

/// One piece of damage.
fn damage(bytes: &mut Vec<u8>, corpus: &[&[u8]], rng: &mut Rng) {
    let len = bytes.len();
    let from = rng.below(len + 1);
    let range = from..(from + 1 + rng.below(12)).min(len).max(from);
    match rng.below(9) {
        0 if len > 0 => bytes[from.min(len - 1)] ^= 1 << rng.below(8),
        1 if len > 0 => bytes[from.min(len - 1)] = rng.bits() as u8,
        2 => drop(bytes.drain(range)),
        3 => {
            let part = bytes[range].to_vec();
            drop(bytes.splice(from..from, part));
        }
        4 => drop(bytes.splice(from..from, WORDS[rng.below(WORDS.len())].bytes())),
        5 => drop(bytes.splice(range, WORDS[rng.below(WORDS.len())].bytes())),
        6 => {
            let other = corpus[rng.below(corpus.len())];
            let start = rng.below(other.len() + 1);
            let end = (start + rng.below(64)).min(other.len());
            drop(bytes.splice(from..from, other[start..end].iter().copied()));
        }
        // Numbers matter most.
        _ => {
            let digit = |i: &usize| bytes[*i].is_ascii_digit();
            let Some(start) = (from..len).chain(0..from).find(digit) else { return };
            let end = (start..len).find(|i| !digit(i)).unwrap_or(len);
            let old: u64 =
                str::from_utf8(&bytes[start..end]).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            let new = match rng.below(4) {
                0 => NUMBERS[rng.below(NUMBERS.len())],
                1 => old.wrapping_mul(2),
                2 => old.wrapping_add(1),
                _ => old.wrapping_sub(1),
            };
            drop(bytes.splice(start..end, new.to_string().bytes()));
        }
    }
}
