#!/usr/bin/env python3
"""Writes curve.json: the losses of a small network that learns, step by step, by PyTorch in f64.

    python3 tests/golden/curve.py > tests/golden/curve.json

Two linear layers with ReLU and a layer norm each, one more linear layer, the Huber loss; 20 steps of AdamW, and 20 of SGD
with Nesterov's momentum, from the same start. Nothing is stored but the losses: weights and rows are numbers of a linear
congruential generator, which f32 holds exactly, and tests/curve.rs makes the same. Parameters of the optimizers are those
that f32 holds. Needs PyTorch 2.2 or newer, no GPU.
"""

import json

import torch
import torch.nn.functional as F

STEPS, ROWS, INPUTS, HIDDEN = 20, 64, 8, 32
DELTA = 1.0
SHAPES = [
    (HIDDEN, INPUTS), (HIDDEN,), (HIDDEN,), (HIDDEN,),
    (HIDDEN, HIDDEN), (HIDDEN,), (HIDDEN,), (HIDDEN,),
    (1, HIDDEN), (1,),
]
NORM_WEIGHTS = [2, 6]
torch.set_num_threads(1)


def f32(x):
    return torch.tensor(x, dtype=torch.float32).item()


def numbers(seed, *shape):
    """In [-1, 1), as f64."""
    values, state = [], seed
    for _ in range(torch.Size(shape).numel()):
        state = (1664525 * state + 1013904223) % 2**32
        values.append((state >> 8) / 2**23 - 1)
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


def parameter(i):
    x = 0.25 * numbers(i, *SHAPES[i]) + (1.0 if i in NORM_WEIGHTS else 0.0)
    return x.to(torch.float32).to(torch.float64).requires_grad_()


def losses(make):
    w = [parameter(i) for i in range(len(SHAPES))]
    optimizer = make(w)
    for step in range(STEPS):
        h = x = numbers(100 + step, ROWS, INPUTS)
        for layer in [0, 4]:
            h = F.relu(F.linear(h, w[layer], w[layer + 1]))
            h = F.layer_norm(h, (HIDDEN,), w[layer + 2], w[layer + 3], f32(1e-5))
        loss = F.huber_loss(F.linear(h, w[8], w[9]), 4 * x[:, :1], delta=DELTA)
        yield loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def adamw(w):
    return torch.optim.AdamW(w, lr=f32(1e-2), betas=(f32(0.9), f32(0.999)), eps=f32(1e-8), weight_decay=f32(0.01))


def sgd(w):
    return torch.optim.SGD(w, lr=f32(5e-2), momentum=f32(0.9), weight_decay=f32(1e-3), nesterov=True)


curves = {"adamw": list(losses(adamw)), "sgd": list(losses(sgd))}
print(json.dumps(curves, indent=1))
