#!/usr/bin/env python3
"""Training in PyTorch, the peer of our own group `training`: bytes and time of a step.

    python3 benches/training.py [--out FILE.json] [--works mlp-f16,adamw] [--turns N] [--run PROGRAM..]

Works, on one GPU:

    mlp-f16, mlp-bf16, mlp-f32
                            16 x (Linear 4096 + ReLU), batch 16,384, mean of squares, AdamW: f16 by autocast and GradScaler
                            or bf16 by autocast (x given in 16 bits), or exact f32
    mlp-f16-checkpoint, mlp-bf16-checkpoint, mlp-f32-checkpoint
                            the same through checkpoint_sequential in 4 segments
    infer-f16               32 x (Linear 8192 + ReLU), batch 8,192, no gradients
    head                    linear 768 -> 50,304 and cross entropy, 16,384 rows, bf16, forward and backward
    adamw                   AdamW over 1 G parameters in 300 tensors, f32
    adamw-8bit              the same with states of 8 bits, by bitsandbytes, where that is installed

Weights have the variance that keeps activations as they are (2 / inputs). PyTorch is at its best: fused AdamW,
`set_to_none`, expandable segments, and each work both eagerly and through torch.compile; the faster is its row, the row
holds both.

    seconds     the median of steps, each timed by events: those of a second, and five at least, after a second that is
                not timed, in which the card comes down to a clock that it can hold; our rows of `training` are timed
                alike, those of `multi` eleven times from rest
    peak        torch.cuda.max_memory_allocated of a step, weights, states and inputs included
    reserved    torch.cuda.max_memory_reserved of it

--run (the last option) calls our program, taut-bench, for its rows of each work, before PyTorch and after it, and prints
what it says with ratios. With --turns N it is PyTorch's turn N times and ours N + 1 times, alternately, and a row of
PyTorch's is the median of its turns.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint_sequential

from machine import provenance

WARM, STEPS, SECONDS = 4, 5, 1.0
LAYERS, WIDTH, BATCH = 16, 4096, 16384


def linear(inputs, outputs, dtype=torch.float32):
    layer = nn.Linear(inputs, outputs, device="cuda", dtype=dtype)
    with torch.no_grad():
        nn.init.normal_(layer.weight, std=(2.0 / inputs) ** 0.5)
        nn.init.zeros_(layer.bias)
    return layer


def chain(layers, width, dtype=torch.float32):
    return nn.Sequential(*(nn.Sequential(linear(width, width, dtype), nn.ReLU()) for _ in range(layers)))


def mlp(half, segments):
    """half: the dtype of autocast, or None."""

    def make(compiled):
        model = chain(LAYERS, WIDTH)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        scaler = torch.amp.GradScaler("cuda", enabled=half is torch.float16)
        x = torch.randn(BATCH, WIDTH, device="cuda", dtype=half or torch.float32)

        def loss_of(x):
            with torch.autocast("cuda", half or torch.float16, enabled=half is not None):
                y = checkpoint_sequential(model, segments, x, use_reentrant=False) if segments else model(x)
            return y.float().square().mean() if half else y.square().mean()

        forward = torch.compile(loss_of) if compiled else loss_of

        def step():
            loss = forward(x)
            scaler.scale(loss).backward()
            del loss
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)

        return step

    return make


def infer(compiled):
    model = chain(32, 8192, torch.float16).requires_grad_(False)
    x = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
    forward = torch.compile(model) if compiled else model

    def step():
        with torch.no_grad():
            forward(x)

    return step


def head(compiled):
    rows, width, classes = 16384, 768, 50304
    weight = torch.randn(classes, width, device="cuda", dtype=torch.bfloat16).mul_(0.02).requires_grad_()
    x = torch.randn(rows, width, device="cuda", dtype=torch.bfloat16).requires_grad_()
    targets = torch.randint(0, classes, (rows,), device="cuda")

    def loss_of(x, weight, targets):
        return nn.functional.cross_entropy((x @ weight.t()).float(), targets)

    forward = torch.compile(loss_of) if compiled else loss_of

    def step():
        forward(x, weight, targets).backward()
        x.grad = weight.grad = None

    return step


def adamw(make):
    def of(compiled):
        if compiled:
            return None
        parameters = [nn.Parameter(torch.randn(3_579_139, device="cuda")) for _ in range(300)]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        return make(parameters).step

    return of


def fused(parameters):
    return torch.optim.AdamW(parameters, lr=1e-4, fused=True)


def eight_bits(parameters):
    import bitsandbytes

    return bitsandbytes.optim.AdamW8bit(parameters, lr=1e-4)


WORKS = {
    "mlp-f16": mlp(torch.float16, 0),
    "mlp-f16-checkpoint": mlp(torch.float16, 4),
    "mlp-bf16": mlp(torch.bfloat16, 0),
    "mlp-bf16-checkpoint": mlp(torch.bfloat16, 4),
    "mlp-f32": mlp(None, 0),
    "mlp-f32-checkpoint": mlp(None, 4),
    "infer-f16": infer,
    "head": head,
    "adamw": adamw(fused),
    "adamw-8bit": adamw(eight_bits),
}


def measure(make, compiled):
    torch._dynamo.reset()
    gc.collect()
    torch.cuda.empty_cache()
    try:
        step = make(compiled)
        if step is None:
            return None
        for _ in range(WARM):
            step()
        torch.cuda.synchronize()
        start = time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            step()
            torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        times, began = [], time.perf_counter()
        while len(times) < STEPS or time.perf_counter() - began < SECONDS:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            step()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        return {
            "seconds": statistics.median(times),
            "peak": torch.cuda.max_memory_allocated(),
            "reserved": torch.cuda.max_memory_reserved(),
        }
    except Exception as error:  # a mode that does not work here is a fact to report
        return {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}


# The group, and parts of the names, of our rows that stand beside a work.
OURS = {
    "mlp-f16": ("training", "each: f16"),
    "mlp-f16-checkpoint": ("training", "each: the same and checkpoint"),
    "mlp-bf16": ("training", "stacked: bf16,stacked: + update in,stacked: + 8-bit"),
    "mlp-bf16-checkpoint": ("training", "stacked: + checkpoint"),
    "mlp-f32": ("training", "each: update in"),
    "mlp-f32-checkpoint": ("training", "each: checkpoint"),
    "infer-f16": ("training", "inference"),
    "head": ("training", "cross entropy"),
    "adamw": ("multi", "adamw_"),
    "adamw-8bit": ("multi", "codes"),
}


def ours(program, work):
    """What our rows beside a work take."""
    if work not in OURS or not program:
        return {}
    group, parts = OURS[work]
    with tempfile.TemporaryDirectory() as out:
        arguments = ["--only", group, "--device", "cuda", "--out", out, "--ops", parts]
        subprocess.run(program + arguments, check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(out, "latest.json")) as f:
            figures = json.load(f)["figures"]
    names = {
        "time": "seconds",
        "speed": "GB/s",
        "tensor peak": "peak",
        "workspace peak": "workspace",
        "reserved peak": "reserved",
    }
    rows = {}
    for figure in figures:
        if figure["group"] == group and figure["metric"] in names and figure["work"] != "device copy":
            row = rows.setdefault(figure["work"], {})
            row[names[figure["metric"]]] = figure["median"]
            if figure["metric"] == "speed":
                row["of copy"] = figure["median"] / figure["limit"]
    return rows


def median_of(turns):
    """The rows of a mode, as one."""
    working = [row for row in turns if row and "seconds" in row]
    if not working:
        return turns[0]
    seconds = [row["seconds"] for row in working]
    return {
        "seconds": statistics.median(seconds),
        "turns": seconds,
        "peak": max(row["peak"] for row in working),
        "reserved": max(row["reserved"] for row in working),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out")
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--run", nargs=argparse.REMAINDER, default=[])
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this machine has no GPU that PyTorch can use")
    torch.manual_seed(1)
    rows = {}
    for work in options.works.split(","):
        own, turns = [ours(options.run, work)], []
        for _ in range(options.turns):
            turns.append([measure(WORKS[work], compiled) for compiled in (False, True)])
            gc.collect()
            torch.cuda.empty_cache()
            own.append(ours(options.run, work))
        modes = {mode: median_of(rows) for mode, rows in zip(("eager", "compile"), zip(*turns))}
        modes = {mode: row for mode, row in modes.items() if row}
        working = {mode: row for mode, row in modes.items() if "seconds" in row}
        best = min(working, key=lambda mode: working[mode]["seconds"]) if working else None
        print(f"  {work:20} {json.dumps(modes)}", file=sys.stderr, flush=True)
        rows[work] = {"mode": best, **(working.get(best) or {}), "modes": modes, "ours": own}
    result = {**provenance(True), "rows": rows}
    if options.out:
        with open(options.out, "w") as f:
            json.dump(result, f, indent=1)
    for work, row in rows.items():
        if not row["mode"]:
            continue
        print(f"{work}: PyTorch {row['peak'] / 1e9:.3f} GB {row['seconds'] * 1e3:.3f} ms, {row['mode']}")
        for name, first in row["ours"][0].items():
            times = [own.get(name, first)["seconds"] for own in row["ours"]]
            shown = ", ".join(f"{time * 1e3:.3f} ms ({time / row['seconds']:.3f}x)" for time in times)
            held = f"{(first['peak'] + first['workspace']) / 1e9:.3f} GB, " if "peak" in first else ""
            speed = f", {first['of copy']:.3f} of a copy's speed" if "of copy" in first else ""
            print(f"    {name}: {held}{shown}{speed}")


if __name__ == "__main__":
    main()
