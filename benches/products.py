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
    """The rows of a report: name, count, m, n, k, lie, dtype, our seconds."""
    for figure in json.load(open(path))["figures"]:
        if figure["group"] == "products" and figure["metric"] == "time" and figure["device"] == "cuda":
            found = re.match(r"(?:(\d+) x )?(\d+) x (\d+) x (\d+), (\w\w), (f16|tf32)$", figure["work"])
            count, m, n, k, lie, dtype = found.groups()
            dtype = {"f16": torch.float16, "tf32": torch.float32}[dtype]
            yield figure["work"], int(count or 1), int(m), int(n), int(k), lie, dtype, figure["median"]


def operands(count, m, n, k, lie, dtype):
    def make(rows, cols):
        return torch.randn(*([count] if count > 1 else []), rows, cols, device="cuda", dtype=dtype)

    if lie == "NN":
        return make(m, k), make(k, n)
    if lie == "NT":
        return make(m, k), make(n, k).transpose(-1, -2)
    return make(k, m).transpose(-1, -2), make(k, n)


def seconds(count, m, n, k, lie, dtype):
    flops = 2 * count * m * n * k
    size = dtype.itemsize * count * (m * k + k * n + m * n)
    sets = [operands(count, m, n, k, lie, dtype) for _ in range(max(1, min(64, ROTATED // size)))]
    calls = int(max(4, min(200, 4e11 / flops)))
    for a, b in sets[:2]:
        torch.matmul(a, b)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(calls):
            torch.matmul(*sets[i % len(sets)])
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
    for name, count, m, n, k, lie, dtype, ours in shapes(sys.argv[1]):
        theirs = seconds(count, m, n, k, lie, dtype)
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
