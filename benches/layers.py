#!/usr/bin/env python3
"""The layer of the group `layers` in PyTorch, eagerly and compiled: forward with what goes along, and its backward.

    python3 benches/layers.py [--turns N] [--out FILE.txt] --run taut-bench

Our program and PyTorch take turns, ours once more than PyTorch. Weights and bias are f32 with gradients of f32 that are added
to, the layer is of f16 by autocast. Prints the medians of the turns, and how many times as fast ours is as the faster of both
modes. Needs PyTorch with a CUDA card.
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch.nn import functional as F

from machine import provenance
from products import REST, leave, ours

ROWS, INPUTS, OUTPUTS = 8192, 4096, 4096
CALLS, REPETITIONS = 16, 7

FORWARD = {
    "product": lambda x, w, b, r: F.linear(x, w),
    "bias": lambda x, w, b, r: F.linear(x, w, b),
    "bias, relu": lambda x, w, b, r: F.relu(F.linear(x, w, b)),
    "bias, leaky relu": lambda x, w, b, r: F.leaky_relu(F.linear(x, w, b)),
    "bias, gelu": lambda x, w, b, r: F.gelu(F.linear(x, w, b)),
    "bias, added to a residual": lambda x, w, b, r: r + F.linear(x, w, b),
}


def timed(work):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e-3


def median(once):
    times = []
    for _ in range(REPETITIONS + 1):
        elapsed, worked = once()
        times.append(elapsed)
        time.sleep(REST * worked)
    return statistics.median(times[1:])


def theirs(compiled):
    half = {"device": "cuda", "dtype": torch.float16}
    std = (2.0 / INPUTS) ** 0.5
    x, other = torch.randn(ROWS, INPUTS, **half), torch.randn(ROWS, OUTPUTS, **half)
    w, b = torch.randn(OUTPUTS, INPUTS, device="cuda") * std, torch.randn(OUTPUTS, device="cuda")
    mode = (lambda f: torch.compile(f, dynamic=False)) if compiled else (lambda f: f)
    rows = {}
    for name, function in FORWARD.items():
        torch._dynamo.reset()
        function, halves = mode(function), (w.half(), b.half())
        with torch.no_grad():
            many = lambda: [function(x, *halves, other) for _ in range(CALLS)] and None
            many()

            def once():
                elapsed = timed(many)
                return elapsed / CALLS, elapsed

            rows[name] = median(once)

    torch._dynamo.reset()
    x, w, b = x.requires_grad_(), w.requires_grad_(), b.requires_grad_()

    @mode
    def layer(x, w, b):
        with torch.autocast("cuda", torch.float16):
            return F.relu(F.linear(x, w, b))

    def backward():
        y = layer(x, w, b)
        elapsed = timed(lambda: y.backward(other))
        x.grad = None
        return elapsed, elapsed

    rows["backward of bias, relu"] = median(backward)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--out")
    parser.add_argument("--run", nargs=argparse.REMAINDER, required=True)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this machine has no GPU that PyTorch can use")
    torch.manual_seed(1)
    own, turns = [ours(options.run, "layers")], []
    for _ in range(options.turns):
        turns.append([theirs(compiled) for compiled in (False, True)])
        torch.cuda.empty_cache()
        own.append(ours(options.run, "layers"))
    lines = [json.dumps(provenance(True))]
    lines.append(f"{'layer':52} {'ours':>10} | {'eager':>10} {'compiled':>10} | times as fast, beside the product")
    alone = None
    for work in own[0]:
        mine = statistics.median(turn[work] for turn in own)
        alone = alone or mine
        eager, compiled = (statistics.median(turn[mode][work.split(": ")[1]] for turn in turns) for mode in (0, 1))
        lines.append(
            f"{work:52} {mine * 1e6:7.1f} us | {eager * 1e6:7.1f} us {compiled * 1e6:7.1f} us | "
            f"{min(eager, compiled) / mine:5.2f} {mine / alone:6.3f}"
        )
    leave(lines, options.out)


if __name__ == "__main__":
    main()
