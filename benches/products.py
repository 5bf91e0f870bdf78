#!/usr/bin/env python3
"""Products by PyTorch (cuBLASLt) at the shapes of the group `products`: graph-timed, on operands that no cache holds, with
rests that keep the card from its limit of power, as there.

    python3 benches/products.py [latest.json]

Prints TFLOP/s and, given the figures of a run of `taut-bench --only products`, how many times as fast those are.
Needs PyTorch with a CUDA card.
"""

import json
import re
import sys
import time

import torch

ROTATED = 256 << 20
REST = 10  # times as long as a repetition


def shapes(path):
    """The rows of a report: name, count, number of parts or 0, m, n, k, lie, dtype, our seconds."""
    for figure in json.load(open(path))["figures"]:
        if figure["group"] == "products" and figure["metric"] == "time" and figure["device"] == "cuda":
            found = re.match(r"(?:(\d+) x |(\d+) parts, )?(\d+) x (\d+) x (\d+), (\w\w), (f16|tf32)$", figure["work"])
            count, cut, *sizes, lie, dtype = found.groups()
            dtype = {"f16": torch.float16, "tf32": torch.float32}[dtype]
            yield figure["work"], int(count or 1), int(cut or 0), *map(int, sizes), lie, dtype, figure["median"]


def parts(count):
    """The rows of the parts of a list, as `parts` in benches/src/products.rs."""
    return [64 + i * 1227 % 1985 for i in range(count)]


def operands(count, m, n, k, lie, dtype):
    def make(rows, cols):
        return torch.randn(*([count] if count > 1 else []), rows, cols, device="cuda", dtype=dtype)

    if lie == "NN":
        return make(m, k), make(k, n)
    if lie == "NT":
        return make(m, k), make(n, k).transpose(-1, -2)
    return make(k, m).transpose(-1, -2), make(k, n)


def grouped(cut, m, n, k):
    """A product of each part by a weight of its own: PyTorch's op for lists, which takes bf16, or else one after the other."""
    sizes = parts(cut)
    assert sum(sizes) == m
    x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
    weights = torch.randn(cut, n, k, device="cuda", dtype=torch.bfloat16).transpose(-1, -2)
    if hasattr(torch, "_grouped_mm"):
        ends = torch.tensor(sizes, device="cuda").cumsum(0).to(torch.int32)
        return lambda: torch._grouped_mm(x, weights, offs=ends)
    rows = x.split(sizes)
    return lambda: [torch.mm(part, weight) for part, weight in zip(rows, weights)]


def products(count, cut, m, n, k, lie, dtype):
    """Calls that multiply, each on other operands."""
    if cut:
        return [grouped(cut, m, n, k)]
    size = dtype.itemsize * count * (m * k + k * n + m * n)
    sets = [operands(count, m, n, k, lie, dtype) for _ in range(max(1, min(64, ROTATED // size)))]
    return [lambda a=a, b=b: torch.matmul(a, b) for a, b in sets]


def seconds(count, cut, m, n, k, lie, dtype):
    flops = 2 * count * m * n * k
    sets = products(count, cut, m, n, k, lie, dtype)
    calls = int(max(4, min(200, 4e11 / flops)))
    for multiply in sets[:2]:
        multiply()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(calls):
            sets[i % len(sets)]()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    times = []
    for _ in range(8):
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        elapsed = start.elapsed_time(end) * 1e-3
        times.append(elapsed / calls)
        time.sleep(REST * elapsed)
    return sorted(times[1:])[len(times[1:]) // 2]


def main():
    torch.backends.cuda.matmul.allow_tf32 = True
    logs = []
    for name, count, cut, m, n, k, lie, dtype, ours in shapes(sys.argv[1]):
        theirs = seconds(count, cut, m, n, k, lie, dtype)
        rate = 2e-12 * count * m * n * k
        logs.append(theirs / ours)
        print(
            f"{name:44} {ours * 1e6:9.1f} us {rate / ours:7.1f} TFLOP/s | "
            f"{theirs * 1e6:9.1f} us {rate / theirs:7.1f} | {theirs / ours:5.2f}",
            flush=True,
        )
    mean = torch.tensor(logs).log().mean().exp().item()
    print(f"geometric mean over {len(logs)} shapes: {mean:.3f}")


if __name__ == "__main__":
    main()
