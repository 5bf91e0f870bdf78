//! Programs that train.

use super::tape::{Id, Tape};
use std::mem;

/// A model under training.
struct Model {
    /// The bytes of each layer's parameters.
    params: Vec<Vec<u64>>,
    grads: Vec<Id>,
    /// The optimizer has what it keeps.
    started: bool,
}

/// What one layer asks for on one batch, in bytes.
struct Layer {
    /// Kept for backward, in the order in which they are made.
    saved: Vec<u64>,
    /// Workspaces of the forward pass, each gone before the next one.
    scratch: Vec<u64>,
    out: u64,
}

impl Model {
    /// A model with these parameters in each layer.
    fn new(tape: &mut Tape, params: Vec<Vec<u64>>) -> Model {
        params.iter().flatten().for_each(|&bytes| tape.keep(bytes));
        Model { params, grads: Vec::new(), started: false }
    }

    /// One step of AdamW over these layers. With `checkpoints` a layer keeps its output alone, and the rest is made
    /// again.
    fn step(&mut self, tape: &mut Tape, input: u64, layers: &[Layer], checkpoints: bool) {
        let input = tape.take(input);
        let mut stack: Vec<(Vec<Id>, Id)> = Vec::new();
        for layer in layers {
            let (saved, out) = forward(tape, layer);
            if checkpoints {
                tape.give_all(saved);
                stack.push((Vec::new(), out));
            } else {
                stack.push((saved, out));
            }
        }
        let last = layers.last().map_or(0, |layer| layer.out);
        let loss = tape.take(4);
        let mut gradient = tape.take(last);
        for (i, layer) in layers.iter().enumerate().rev() {
            let Some((mut saved, out)) = stack.pop() else { break };
            if checkpoints {
                let (again, copy) = forward(tape, layer);
                tape.give(copy);
                saved = again;
            }
            gradient = self.backward(tape, i, layer, gradient, if i > 0 { layers[i - 1].out } else { 4 });
            tape.give_all(saved);
            tape.give(out);
        }
        tape.give_all([gradient, loss, input]);
        self.update(tape);
    }

    /// The gradients of a layer's parameters and of its input.
    fn backward(&mut self, tape: &mut Tape, i: usize, layer: &Layer, of_out: Id, input: u64) -> Id {
        for &bytes in &layer.scratch {
            tape.touch(bytes);
        }
        let mut inner: Option<Id> = None;
        for &bytes in layer.saved.iter().rev() {
            let next = tape.take(bytes);
            tape.give_all(inner.replace(next));
        }
        let grads: Vec<Id> = self.params[i].iter().map(|&bytes| tape.take(bytes)).collect();
        self.grads.extend(grads);
        let of_input = tape.take(input);
        tape.give_all(inner);
        tape.give(of_out);
        of_input
    }

    fn update(&mut self, tape: &mut Tape) {
        let sizes: Vec<u64> = self.params.iter().flatten().copied().collect();
        if !std::mem::replace(&mut self.started, true) {
            sizes.iter().flat_map(|&bytes| [4, bytes, bytes]).for_each(|bytes| tape.keep(bytes));
        }
        // Chunks of parameters at a time, as its `foreach` does.
        for chunk in sizes.chunks(32) {
            let roots: Vec<Id> = chunk.iter().map(|&bytes| tape.take(bytes)).collect();
            tape.give_all(roots);
        }
        tape.give_all(mem::take(&mut self.grads));
    }
}

fn forward(tape: &mut Tape, layer: &Layer) -> (Vec<Id>, Id) {
    let mut saved = Vec::new();
    for (i, &bytes) in layer.saved.iter().enumerate() {
        saved.push(tape.take(bytes));
        if let Some(&scratch) = layer.scratch.get(i) {
            tape.touch(scratch);
        }
    }
    (saved, tape.take(layer.out))
}

pub(super) fn transformer(tape: &mut Tape, checkpoints: bool) {
    let (n_layers, width) = (tape.random(4..=16), tape.one_of(&[384, 512, 768, 1024]));
    let (vocab, heads) = (tape.one_of(&[8_000, 30_522, 50_257]), width / 64);
    let block = [3 * width * width, 3 * width, width * width, width, 4 * width * width, 4 * width];
    let block = block.into_iter().chain([4 * width * width, width, width, width, width, width]);
    let block: Vec<u64> = block.map(|n| 4 * n).collect();
    let mut params = vec![vec![4 * vocab * width, 4096 * width]];
    params.extend((0..n_layers).map(|_| block.clone()));
    params.push(vec![4 * width, 4 * width]);
    let mut model = Model::new(tape, params);
    let batch = tape.one_of(&[2, 4, 8, 12]);
    for step in 0..14 {
        let (batch, len) = match step {
            // A batch that is not full, as at the end of an epoch.
            6 | 13 => (tape.random(1..=batch), tape.random(17..=900)),
            _ => (batch, tape.one_of(&[128, 256, 512, 768, 1000, 1024])),
        };
        let tokens = batch * len;
        let hidden = 2 * tokens * width;
        let mut layers = vec![Layer { saved: vec![8 * tokens], scratch: vec![hidden], out: 2 * hidden }];
        layers.extend((0..n_layers).map(|_| Layer {
            saved: vec![
                2 * hidden,
                8 * tokens,
                hidden,
                3 * hidden,
                hidden,
                4 * batch * heads * len,
                hidden,
                2 * hidden,
                8 * tokens,
                hidden,
                4 * hidden,
                4 * hidden,
                tokens * width,
            ],
            scratch: vec![hidden, 0, 2 * 3 * width * width, hidden, 0, 0, 2 * width * width, 8 << 20],
            out: 2 * hidden,
        }));
        let logits = 2 * tokens * vocab;
        layers.push(Layer { saved: vec![hidden, logits, 2 * logits], scratch: vec![0, 0, logits], out: 4 });
        model.step(tape, 8 * tokens, &layers, checkpoints);
    }
}

pub(super) fn cnn(tape: &mut Tape) {
    let depth = [tape.random(1..=3), tape.random(1..=4), tape.random(1..=6), tape.random(1..=3)];
    let width = tape.one_of(&[48, 64, 96]);
    let mut convs: Vec<(u64, u64, u64)> = vec![(3 * 49, width, 2)];
    for (stage, n) in depth.into_iter().enumerate() {
        let channels = width << stage;
        for i in 0..n {
            let stride = if i == 0 { 2 } else { 1 };
            convs.extend([
                (channels, channels, stride),
                (9 * channels, channels, 1),
                (channels, 4 * channels, 1),
            ]);
        }
    }
    let params =
        convs.iter().map(|&(k, out, _)| vec![2 * k * out, 4 * out, 4 * out, 4 * out, 4 * out]).collect();
    let mut model = Model::new(tape, params);
    let largest = tape.one_of(&[16, 32, 64]);
    for _ in 0..14 {
        let batch = if tape.random(0..=3) == 0 { tape.random(1..=largest) } else { largest };
        let size = tape.one_of(&[128, 160, 192, 224, 256]);
        let (mut side, mut layers): (u64, Vec<Layer>) = (size, Vec::new());
        for &(_, out, stride) in &convs {
            side = side.div_ceil(stride);
            let bytes = 2 * batch * out * side * side;
            let workspace = tape.random(0..=64) << 20;
            layers.push(Layer { saved: vec![bytes, 4 * out, 4 * out], scratch: vec![workspace], out: bytes });
        }
        model.step(tape, 2 * batch * 3 * size * size, &layers, false);
    }
}

pub(super) fn graphs(tape: &mut Tape) {
    let (n_layers, width) = (tape.random(3..=8), tape.one_of(&[64, 128, 256]));
    let params =
        (0..n_layers).map(|_| vec![4 * width * width, 4 * width, 4 * width * width, 4 * width]).collect();
    let mut model = Model::new(tape, params);
    for _ in 0..40 {
        let nodes = tape.random(5_000..=60_000);
        let edges = nodes * tape.random(3..=9) + tape.random(0..=1000);
        let layer = |_| Layer {
            saved: vec![8 * edges, 4 * edges * width, 4 * nodes * width, nodes * width, 4 * edges],
            scratch: vec![8 * edges, 4 * edges, 4 * nodes],
            out: 4 * nodes * width,
        };
        let layers: Vec<Layer> = (0..n_layers).map(layer).collect();
        model.step(tape, 4 * nodes * width, &layers, false);
    }
}

pub(super) fn adapters(tape: &mut Tape) {
    let (n_layers, width) = (tape.random(6..=20), tape.one_of(&[1024, 1536, 2048]));
    for _ in 0..n_layers {
        for n in [width * width, width * width, 4 * width * width, 4 * width * width, width] {
            let full = tape.take(4 * n);
            tape.keep(2 * n);
            tape.give(full);
        }
    }
    let rank = tape.one_of(&[8, 16, 64]);
    let params = (0..n_layers).map(|_| vec![4 * rank * width; 8]).collect();
    let mut model = Model::new(tape, params);
    for _ in 0..16 {
        let tokens = tape.random(100..=4000);
        let hidden = 2 * tokens * width;
        let layer = |_| Layer {
            saved: vec![hidden, 4 * tokens, hidden, 2 * tokens * rank, hidden, 4 * hidden, 4 * hidden],
            scratch: vec![2 * tokens * rank, hidden, 2 * tokens * rank],
            out: hidden,
        };
        let layers: Vec<Layer> = (0..n_layers).map(layer).collect();
        model.step(tape, 8 * tokens, &layers, false);
    }
}
