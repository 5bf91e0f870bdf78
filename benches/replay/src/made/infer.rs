//! Programs that only look.

use super::tape::{Id, Tape};

/// The weights of a transformer: blocks of 12 `width`^2, at two bytes.
fn weights(tape: &mut Tape, n_layers: u64, width: u64) {
    tape.keep(2 * 32_000 * width);
    for _ in 0..n_layers {
        let square = 2 * width * width;
        [3 * square, 6 * width, square, 4 * square, 4 * square, 2 * width]
            .into_iter()
            .for_each(|n| tape.keep(n));
    }
}

/// One pass of a block over so many tokens; only its output is left, in place of its input.
fn block(tape: &mut Tape, hidden: u64, input: Id) -> Id {
    let normed = tape.take(hidden);
    let qkv = tape.take(3 * hidden);
    tape.give(normed);
    let mixed = tape.take(hidden);
    tape.touch(hidden / 4 + 512);
    tape.give(qkv);
    let sum = tape.take(hidden);
    tape.give_all([mixed, input]);
    let wide = tape.take(4 * hidden);
    let active = tape.take(4 * hidden);
    tape.give(wide);
    let out = tape.take(hidden);
    tape.give_all([active, sum]);
    out
}

pub(super) fn encoding(tape: &mut Tape) {
    let (n_layers, width) = (tape.random(6..=24), tape.one_of(&[384, 768, 1024]));
    weights(tape, n_layers, width);
    let largest = tape.one_of(&[32, 64, 256]);
    let mut results = Vec::new();
    for _ in 0..60 {
        let (batch, len) = (tape.random(1..=largest), tape.random(8..=512));
        let tokens = tape.take(8 * batch * len);
        let hidden = 2 * batch * len * width;
        let mut x = tape.take(hidden);
        for _ in 0..n_layers {
            x = block(tape, hidden, x);
        }
        results.push(tape.take(4 * batch * width));
        tape.give_all([x, tokens]);
    }
    tape.give_all(results);
}

pub(super) fn generation(tape: &mut Tape) {
    let (n_layers, width) = (tape.random(6..=24), tape.one_of(&[512, 768, 1024]));
    weights(tape, n_layers, width);
    for _ in 0..5 {
        let batch = tape.one_of(&[1, 4, 8, 16]);
        let mut len = tape.random(20..=900);
        let mut x = tape.take(2 * batch * len * width);
        let mut caches: Vec<[Id; 2]> = Vec::new();
        for _ in 0..n_layers {
            x = block(tape, 2 * batch * len * width, x);
            let cache = 2 * batch * len * width;
            caches.push([tape.take(cache), tape.take(cache)]);
        }
        tape.give(x);
        for _ in 0..tape.random(20..=120) {
            len += 1;
            let mut x = tape.take(2 * batch * width);
            for pair in &mut caches {
                for old in pair {
                    let longer = tape.take(2 * batch * len * width);
                    tape.give(std::mem::replace(old, longer));
                }
                x = block(tape, 2 * batch * width, x);
            }
            tape.touch(2 * batch * 32_000);
            tape.give(x);
        }
        tape.give_all(caches.into_iter().flatten());
    }
}

pub(super) fn serving(tape: &mut Tape) {
    let (n_layers, width) = (tape.random(6..=16), tape.one_of(&[512, 1024, 2048]));
    weights(tape, n_layers, width);
    // For each request its pieces, the tokens in them, and the tokens to come.
    let mut requests: Vec<(Vec<Id>, u64, u64)> = Vec::new();
    const PIECE: u64 = 256;
    for _ in 0..1200 {
        if requests.len() < 24 && tape.random(0..=3) > 0 {
            let (prompt, rest) = (tape.random(10..=1500), tape.random(10..=800));
            let mut x = tape.take(2 * prompt * width);
            for _ in 0..n_layers {
                x = block(tape, 2 * prompt * width, x);
            }
            let pieces = prompt.div_ceil(PIECE) * n_layers;
            let pieces = (0..pieces).map(|_| tape.take(4 * PIECE * width)).collect();
            tape.give(x);
            requests.push((pieces, prompt, rest));
        }
        let mut ended = Vec::new();
        for (i, (pieces, len, rest)) in requests.iter_mut().enumerate() {
            let n = 16.min(*rest);
            if (*len + n).div_ceil(PIECE) > len.div_ceil(PIECE) {
                pieces.extend((0..n_layers).map(|_| tape.take(4 * PIECE * width)));
            }
            (*len, *rest) = (*len + n, *rest - n);
            if *rest == 0 {
                ended.push(i);
            }
        }
        let mut x = tape.take(2 * requests.len() as u64 * width + 2);
        for _ in 0..n_layers {
            x = block(tape, 2 * requests.len() as u64 * width + 2, x);
        }
        tape.give(x);
        for i in ended.into_iter().rev() {
            tape.give_all(requests.swap_remove(i).0);
        }
    }
}
