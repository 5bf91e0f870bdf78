#!/usr/bin/env python3
"""Ops that are bound by memory by PyTorch, eager, at the sizes of the group `throughput`: random data, eight sets of operands
that no cache holds, medians. Sums at positions are its deterministic ones.

    python3 benches/ops.py [latest.json]

Prints microseconds and the percent of a copy of the same bytes and, given the figures of a run of `taut-bench --only
throughput`, how many times as fast those are. Needs PyTorch with a CUDA card.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F

NUMEL = 1 << 28
SETS = 8
REPETITIONS = 5
DTYPES = {"f16": torch.float16, "f32": torch.float32}
TABLE = (50304, 768)


def random(shape, dtype):
    return torch.randn(shape, device="cuda", dtype=dtype)


def positions(count, n):
    return torch.randint(n, (count,), device="cuda")


def square(dtype):
    return random((NUMEL // 4096, 4096), dtype)


def rows(n, dtype):
    return random((NUMEL // n, n), dtype)


def norms(n, dtype):
    """Rows, and what is beside their elements."""
    return rows(n, dtype), random(n, dtype), random(n, dtype)


def add_rows(x, index, src):
    return x.index_add_(0, index, src)


def works():
    """Name as in our figures, without dtype: what makes operands of a dtype, what is called, the elements read and written."""
    one, two = (lambda dtype: [square(dtype)]), (lambda dtype: [square(dtype), square(dtype)])
    yield "relu", one, F.relu, 2
    yield "leaky_relu", one, F.leaky_relu, 2
    yield "gelu", one, F.gelu, 2
    yield "silu", one, F.silu, 2
    yield "clamp", one, lambda x: x.clamp(-1, 1), 2
    yield "add", two, torch.add, 3
    yield "sum, all", one, torch.sum, 1
    yield "sum, columns", one, lambda x: x.sum(0), 1
    yield "norm, all", one, torch.linalg.vector_norm, 1
    yield "dropout", one, lambda x: F.dropout(x, 0.1), 2
    yield "contiguous, transposed", one, lambda x: x.t().contiguous(), 2
    yield "cumsum, rows", one, lambda x: x.cumsum(1), 2
    for n in (1024, 4096, 16384, 131072):
        name = "" if n == 4096 else f", rows of {n}"
        yield f"softmax{name}", lambda dtype, n=n: [rows(n, dtype)], lambda x: x.softmax(1), 2
        yield f"layer_norm{name}", lambda dtype, n=n: norms(n, dtype), lambda x, w, b: F.layer_norm(x, x.shape[1:], w, b), 2
        yield f"rms_norm{name}", lambda dtype, n=n: norms(n, dtype)[:2], lambda x, w: F.rms_norm(x, x.shape[1:], w, 1e-5), 2
        yield (
            f"softmax_backward{name}",
            lambda dtype, n=n: [rows(n, dtype), rows(n, dtype)],
            lambda g, y: torch._softmax_backward_data(g, y, 1, y.dtype),
            3,
        )
    yield "softmax, columns", one, lambda x: x.softmax(0), 2
    few = TABLE[0] * TABLE[1] / NUMEL
    yield (
        "index_select, rows of 768",
        lambda dtype: [random(TABLE, dtype), positions(TABLE[0], TABLE[0])],
        lambda x, index: x.index_select(0, index),
        2 * few,
    )
    yield (
        "index_add, rows of 768, in place",
        lambda dtype: [random(TABLE, dtype), positions(TABLE[0], TABLE[0]), random(TABLE, dtype)],
        add_rows,
        3 * few,
    )
    yield "index_add, in place", lambda dtype: [square(dtype), positions(NUMEL // 4096, NUMEL // 4096), square(dtype)], add_rows, 3
    yield (
        "scatter_add, in place",
        lambda dtype: [square(dtype), torch.randint(4096, (NUMEL // 4096, 4096), device="cuda"), square(dtype)],
        lambda x, index, src: x.scatter_add_(1, index, src),
        3,
    )


def seconds(sets, call):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    times = []
    for _ in range(1 + REPETITIONS):
        start.record()
        for operands in sets:
            call(*operands)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e-3 / len(sets))
        if sum(times) * len(sets) > 2:
            break
    times = times[1:] or times
    return sorted(times)[len(times) // 2]


def small():
    """An op on 1,024 elements: what the host takes for it, and the device in a graph that is replayed."""
    x = random(1024, torch.float16)
    eager, replayed = [], []
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        x.relu_()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        y = x
        for _ in range(500):
            y = y + 1.0
    for _ in range(21):
        begin = time.perf_counter()
        for _ in range(500):
            x.relu_()
        eager.append((time.perf_counter() - begin) / 500)
        torch.cuda.synchronize()
        replayed.append(seconds([()], graph.replay) / 500)
    middle = lambda times: sorted(times)[len(times) // 2]
    yield "op: relu_, 1,024 elements", middle(eager)
    yield "graph: add_scalar, 1,024 elements", middle(replayed)


def figures(path):
    """Our seconds by row."""
    if path is None:
        return {}
    every = json.load(open(path))["figures"]
    ours = [f for f in every if f["group"] == "throughput" and f["metric"] == "time" and f["device"] == "cuda"]
    return {f["work"]: f["median"] for f in ours}


def row(name, theirs, percent, ours):
    beside = f" | {ours * 1e6:10.2f} us | {theirs / ours:6.2f}" if ours else ""
    print(f"{name:44} {theirs * 1e6:10.2f} us {percent}{beside}", flush=True)


def main():
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    ours = figures(sys.argv[1] if len(sys.argv) > 1 else None)
    source = [square(torch.float16) for _ in range(SETS)]
    target = [torch.empty_like(x) for x in source]
    copy = seconds(list(zip(target, source)), torch.Tensor.copy_) / (2 * 2 * NUMEL)  # a byte
    del source, target
    for work, make, call, elements in works():
        for name, dtype in DTYPES.items():
            method, comma, rest = work.partition(",")
            full = f"{method} {name}{comma}{rest}"
            sets = [make(dtype) for _ in range(SETS)]
            try:
                theirs = seconds(sets, call)
            except RuntimeError as error:  # PyTorch has none that is deterministic
                print(f"{full:44} {error}", flush=True)
                continue
            finally:
                del sets
            limit = copy * elements * NUMEL * dtype.itemsize
            row(full, theirs, f"{100 * limit / theirs:5.1f} %", ours.get(full))
    for name, theirs in small():
        row(name, theirs, " " * 7, ours.get(name))


if __name__ == "__main__":
    main()
