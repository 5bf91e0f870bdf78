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

States of 8 bits have their peer in PyTorch's of 32. Two bars, and exit 1 where one is missed:

    start       AdamW in f32: each of the first 20 losses differs by at most 1e-5 of it
    spread      every way: three runs of PyTorch, with the rows in the given order and in two others, make a band: from the
                least to the largest of their losses at a step, each the mean of 20 steps. Ours stays within the band,
                widened on both sides by a quarter of its mean width, at every step

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

HERE = os.path.dirname(os.path.abspath(__file__))
START_STEPS, START_BAR = 20, 1e-5
WINDOW, MARGIN = 20, 0.25
ORDERS = [None, 1, 2]
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


def learn(start, facts, dtype, rule, lr, order, device):
    """The loss of each step, before it is done."""
    x, y = start["x"].to(device), start["y"].to(device)
    if order is not None:
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(order)).to(device)
        x, y = x[rows], y[rows]
    x, y = x.to(dtype), y.float()
    weights = {name: w.to(device, dtype, copy=True).requires_grad_() for name, w in start.items() if name not in ("x", "y")}
    is_half = dtype != torch.float32
    masters = [w.detach().float() if is_half else w for w in weights.values()]
    optimizer = rule(masters, lr)
    scale = float(facts["scale"]) if dtype == torch.float16 else 1.0
    layers, batch, delta = int(facts["layers"]), int(facts["batch"]), float(facts["delta"])
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


def compare(way, ours, peers):
    """The figures of a way, and whether it keeps to the bars."""
    given = peers[0]
    start = ((ours - given).abs() / given.abs())[:START_STEPS].max().item()
    curves = torch.stack([smooth(peer) for peer in peers])
    low, high = curves.min(0).values, curves.max(0).values
    width = (high - low).mean().item()
    mine = smooth(ours)
    outside = torch.maximum(low - mine, mine - high).max().item() / width
    apart = ((mine - curves[0]).abs() / curves[0]).max().item()
    # Written so that NaN misses them.
    keeps = outside <= MARGIN and (way != "AdamW, f32" or start <= START_BAR)
    end = [mine[-1].item(), *curves[:, -1].tolist()]
    return {
        "way": way,
        "first_20_relative": start,
        "smoothed_relative": apart,
        "outside_in_widths": outside,
        "band_width": width,
        "end": end,
        "keeps": keeps,
    }


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
            as_ours = (start, facts, DTYPES[dtype], make, lr)
            peers[peer] = [learn(*as_ours, order, options.device) for order in ORDERS]
        rows.append(compare(way, torch.tensor(losses, dtype=torch.float64), peers[peer]))
        curves[way] = {"ours": losses, "pytorch": [x.tolist() for x in peers[peer]]}
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    print(f"PyTorch {torch.__version__}, {name}, {len(losses)} steps")
    print(f"{'way':26} {'first 20':>9} {'smoothed':>9} {'outside':>8} {'end: ours':>10} {'PyTorch':>28}")
    for row in rows:
        end = " ".join(f"{x:.5f}" for x in row["end"][1:])
        print(
            f"{row['way']:26} {row['first_20_relative']:9.1e} {row['smoothed_relative']:9.1e} "
            f"{row['outside_in_widths']:8.2f} {row['end'][0]:10.5f} {end:>28}{'' if row['keeps'] else '  MISSED'}"
        )
    print(f"first 20: relative, at most {START_BAR:.0e} for AdamW, f32. outside: of the band, in its mean widths, at most {MARGIN}")
    if options.out:
        with open(options.out, "w") as f:
            result = {"device": name, "torch": torch.__version__, "margin": MARGIN, "rows": rows, "curves": curves}
            json.dump(result, f, indent=1)
    missed = [row["way"] for row in rows if not row["keeps"]]
    if missed:
        sys.exit(f"not as in PyTorch: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
