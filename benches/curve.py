#!/usr/bin/env python3
"""Does a network learn as it does in PyTorch? Losses step by step, from the same weights and the same rows.

    cargo build --release -p taut-benches
    python3 benches/curve.py --device cpu [--out FILE.json] --run target/release/taut-bench

--run (the last option) calls our program for its group `curve`. It writes weights and rows into a file, learns from them in
each way, and writes its losses; this script reads the same file and learns in PyTorch: five linear layers with ReLU and
layer norms between them, the Huber loss of the flights, 200 steps.

    f32         weights in f32; on a GPU products are exact f32 too, no TF32
    bf16, f16   weights, activations and gradients of 16 bits, f32 masters which the optimizer changes and which the
                weights are rounded from; norms and the loss in f32; the loss of f16 scaled by a constant
    Lion        from its paper's formula, in f32: PyTorch has none

States of 8 bits have their peer in PyTorch's of 32. Three runs of PyTorch, with the rows in the given order, which is ours
too, and in two others, make a band: from the least to the largest of their losses at a step, each the mean of 20 steps.
Where the run in the given order is the band's edge, a run that differs from it by rounding alone leaves the band as often as
not. So PyTorch itself runs again, with the rows of each batch in three other orders, which changes what is summed when and
nothing else, and is held to the same figures beside ours. Bars, and exit 1 where one is missed:

    start       AdamW in f32: each of the first 20 losses differs by at most 1e-5 of it
    spread      every way: ours is farther from PyTorch's run in the same order than the band is wide at no step, or at no more
                steps than the worst of PyTorch's own reruns

Needs PyTorch 2.2 or newer, and the flights: cargo xtask setup flights.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F

from machine import provenance

HERE = os.path.dirname(os.path.abspath(__file__))
START_STEPS, START_BAR = 20, 1e-5
WINDOW = 20
ORDERS, WITHIN = [None, 1, 2], [3, 4, 5]
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def read(path):
    """Tensors and texts of a safetensors file."""
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = bytearray(f.read())
    texts = header.pop("__metadata__")
    dtypes = {"F32": torch.float32, "F16": torch.float16}
    tensors = {}
    for name, info in header.items():
        start, end = info["data_offsets"]
        flat = torch.frombuffer(data[start:end], dtype=dtypes[info["dtype"]])
        tensors[name] = flat.reshape(info["shape"])
    return tensors, texts


def f32(x):
    """A parameter as our f32 holds it."""
    return torch.tensor(x, dtype=torch.float32).item()


class Lion:
    """Chen et al., "Symbolic discovery of optimization algorithms", 2023."""

    def __init__(self, parameters, lr):
        self.parameters, self.lr = parameters, lr
        self.moments = [torch.zeros_like(x) for x in parameters]

    @torch.no_grad()
    def step(self):
        for x, m in zip(self.parameters, self.moments):
            x -= self.lr * torch.sign(f32(0.9) * m + (1 - f32(0.9)) * x.grad)
            m.mul_(f32(0.99)).add_(x.grad, alpha=1 - f32(0.99))


def adamw(parameters, lr):
    return torch.optim.AdamW(parameters, lr=lr, betas=(f32(0.9), f32(0.999)), eps=f32(1e-8), weight_decay=f32(0.01))


def forward(weights, x, layers):
    for layer in range(layers - 1):
        x = F.relu(F.linear(x, weights[f"{2 * layer}.weight"], weights[f"{2 * layer}.bias"]))
        x = F.layer_norm(x, x.shape[-1:], weights[f"{2 * layer + 1}.weight"], weights[f"{2 * layer + 1}.bias"], 1e-5)
    last = 2 * (layers - 1)
    return F.linear(x, weights[f"{last}.weight"], weights[f"{last}.bias"])


def shuffled(count, seed):
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def learn(start, facts, dtype, rule, lr, device, order=None, within=None):
    """The loss of each step, before it is done. The rows are as given, or shuffled by the seed `order`, or each batch's own
    by the seed `within`."""
    layers, batch, delta = int(facts["layers"]), int(facts["batch"]), float(facts["delta"])
    rows = torch.arange(len(start["x"])) if order is None else shuffled(len(start["x"]), order)
    if within is not None:
        rows = torch.cat([part[shuffled(len(part), within)] for part in rows.split(batch)])
    x, y = start["x"][rows].to(device, dtype), start["y"][rows].to(device).float()
    weights = {name: w.to(device, dtype, copy=True).requires_grad_() for name, w in start.items() if name not in ("x", "y")}
    is_half = dtype != torch.float32
    masters = [w.detach().float() if is_half else w for w in weights.values()]
    optimizer = rule(masters, lr)
    scale = float(facts["scale"]) if dtype == torch.float16 else 1.0
    losses = []
    for x, y in zip(x.split(batch), y.split(batch)):
        loss = F.huber_loss(forward(weights, x, layers).float(), y, delta=delta)
        losses.append(loss.detach())
        (loss * scale).backward()
        for w, master in zip(weights.values(), masters):
            if is_half:
                master.grad = w.grad.float() / scale
                w.grad = None
        optimizer.step()
        for w, master in zip(weights.values(), masters):
            master.grad = None
            if is_half:
                w.data.copy_(master)
    return torch.stack(losses).double().cpu()


def smooth(losses):
    return losses.unfold(0, WINDOW, 1).mean(1)


def against(band, losses):
    """Of a run: steps outside the band and the farthest of them, steps farther from the band's first run than it is wide and
    the farthest of them. Far is in mean widths of the band."""
    low, high = band.min(0).values, band.max(0).values
    mine, wide = smooth(losses), high - low
    outside, apart = torch.maximum(low - mine, mine - high), (mine - band[0]).abs()
    # Written so that NaN is outside.
    return {
        "steps": len(mine),
        "outside": int((~(outside <= 0)).sum()),
        "outside_by": max(0.0, (outside.max() / wide.mean()).item()),
        "apart": int((~(apart <= wide)).sum()),
        "apart_by": (apart.max() / wide.mean()).item(),
        "end": mine[-1].item(),
    }


def compare(way, ours, peers, again):
    """The figures of a way, and whether it keeps to the bars."""
    given = peers[0]
    start = ((ours - given).abs() / given.abs())[:START_STEPS].max().item()
    band = torch.stack([smooth(peer) for peer in peers])
    run, reruns = against(band, ours), [against(band, rerun) for rerun in again]
    is_within = run["apart"] <= max(rerun["apart"] for rerun in reruns)
    keeps = is_within and (way != "AdamW, f32" or start <= START_BAR)
    ends = band[:, -1].tolist()
    return {"way": way, "first_20_relative": start, "ours": run, "pytorch_again": reruns, "ends": ends, "keeps": keeps}


def span(runs, name):
    values = sorted(run[name] for run in runs)
    return f"{values[0]}-{values[-1]}" if name in ("outside", "apart") else f"{values[-1]:.2f}"


def show(name, rows):
    print(f"PyTorch {torch.__version__}, {name}, {rows[0]['ours']['steps']} means of {WINDOW} steps")
    print("  first 20: relative, beside PyTorch's run in the same order")
    print("  outside:  means outside the band of three orders, and the farthest, in its mean widths; of ours, of PyTorch's reruns")
    print("  apart:    means farther from PyTorch's run in the same order than the band is wide there, and the farthest of all")
    print(f"{'':26} {'first 20':>9} {'outside':>9} {'PyTorch':>13} {'apart':>10} {'PyTorch':>13}   {'end':7} PyTorch")
    for row in rows:
        run, again = row["ours"], row["pytorch_again"]
        parts = [f"{row['way']:26} {row['first_20_relative']:9.1e}"]
        for figure in ("outside", "apart"):
            parts.append(f" {run[figure]:3} {run[figure + '_by']:4.2f}  {span(again, figure):>7} {span(again, figure + '_by')}")
        parts.append(f"  {run['end']:.5f} {' '.join(f'{end:.5f}' for end in row['ends'])}{'' if row['keeps'] else '  MISSED'}")
        print(" ".join(parts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--data", default=os.environ.get("TAUT_DATA") or os.path.join(HERE, "../target/data"))
    parser.add_argument("--out")
    parser.add_argument("--run", nargs=argparse.REMAINDER, required=True)
    options = parser.parse_args()
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    with tempfile.TemporaryDirectory() as out:
        arguments = ["curve", "--device", options.device, "--data", options.data, "--out", out]
        subprocess.run(options.run + arguments, check=True, stdout=subprocess.DEVNULL)
        start, facts = read(os.path.join(out, "curve/start.safetensors"))
        with open(os.path.join(out, "curve/losses.json")) as f:
            ours = json.load(f)
    peers, rows, curves = {}, [], {}
    for way, losses in ours.items():
        rule, dtype = way.split(", ")[:2]
        peer = f"{rule}, {dtype}"
        if peer not in peers:
            make, lr = {"AdamW": adamw, "Lion": Lion}[rule], f32(float(facts[f"lr of {way}"]))
            as_ours = (start, facts, DTYPES[dtype], make, lr, options.device)
            peers[peer] = [learn(*as_ours, order=order) for order in ORDERS], [learn(*as_ours, within=seed) for seed in WITHIN]
        runs, again = peers[peer]
        rows.append(compare(way, torch.tensor(losses, dtype=torch.float64), runs, again))
        curves[way] = {"ours": losses, "pytorch": [x.tolist() for x in runs], "pytorch_again": [x.tolist() for x in again]}
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    show(name, rows)
    if options.out:
        with open(options.out, "w") as f:
            result = {**provenance(options.device == "cuda"), "rows": rows, "curves": curves}
            json.dump(result, f, indent=1)
    missed = [row["way"] for row in rows if not row["keeps"]]
    if missed:
        sys.exit(f"not as in PyTorch: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
