#!/usr/bin/env python3
"""Every op of taut on the CPU beside PyTorch and numpy on the same cores, in one run.

    python3 benches/compare.py PROGRAM [--cores 0,1] [--out FILE.json] [--ops relu,sum] [--quick]

PROGRAM is the bench program: target/release/taut-bench, or taut-bench of a bundle. Op by op it runs our rows and then
theirs, on operands of the same shapes and distributions, and prints times and their ratio. Needs PyTorch and numpy.
The exit status is 1 if an op is more than twice as slow as the faster of them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

REPETITIONS = 7

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program")
parser.add_argument("--cores", default="0,1")
parser.add_argument("--out")
parser.add_argument("--ops")
parser.add_argument("--dtypes", help="f32,f16: all unless given")
parser.add_argument("--quick", action="store_true", help="f32 only, 2^20 elements instead of 2^24")
options = parser.parse_args()
NUMEL = 1 << (20 if options.quick else 24)
cores = [int(core) for core in options.cores.split(",")]
os.sched_setaffinity(0, cores)  # children too
for name in ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"]:
    os.environ[name] = str(len(cores))

import numpy
import torch
import torch.nn.functional as F

from machine import provenance

torch.set_num_threads(len(cores))
torch.set_grad_enabled(False)
torch.manual_seed(1)
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "i64": torch.int64, "bool": torch.bool}
SQUARE = (NUMEL // 4096, 4096)


def normal(dtype, *shape):
    return torch.randn(*(shape or SQUARE)).to(dtype)


def flags(*shape):
    return torch.rand(*(shape or SQUARE)) < 0.5


def below(n, *shape):
    return torch.randint(0, n, shape)


def one(function):
    """An op of one operand."""
    return lambda dtype: ((normal(dtype),), function)


def two(function):
    return lambda dtype: ((normal(dtype), normal(dtype)), function)


def mask_of(function):
    return lambda dtype: ((flags(),), function)


def rows_of(function, *shapes):
    """An op of the square, and of normal tensors of other shapes."""
    return lambda dtype: ((normal(dtype), *[normal(dtype, *shape) for shape in shapes]), function)


def product(function, *shapes):
    return lambda dtype: (tuple(normal(dtype, *shape) for shape in shapes), function)


EDGE = int(NUMEL**0.5)
N = SQUARE[1]
LONG, SHORT = (max(NUMEL >> 20, 1), 16, 1024, 64), (NUMEL // (12 * 64 * 32), 12, 64, 32)

# By the name of the registry's entry, without dtype: what makes the operands, and the op.
PEERS = {
    "relu": one(torch.relu),
    "leaky_relu": one(lambda x: F.leaky_relu(x, 0.01)),
    "neg": one(torch.neg),
    "add_scalar": one(lambda x: x + 3.0),
    "mul_scalar": one(lambda x: x * 3.0),
    "exp": one(torch.exp),
    "log": one(torch.log),
    "sqrt": one(torch.sqrt),
    "rsqrt": one(torch.rsqrt),
    "abs": one(torch.abs),
    "sin": one(torch.sin),
    "cos": one(torch.cos),
    "tanh": one(torch.tanh),
    "sigmoid": one(torch.sigmoid),
    "silu": one(F.silu),
    "gelu": one(F.gelu),
    "gelu_tanh": one(lambda x: F.gelu(x, approximate="tanh")),
    "elu": one(F.elu),
    "softplus": one(F.softplus),
    "reciprocal": one(torch.reciprocal),
    "clamp": one(lambda x: x.clamp(-1.0, 1.0)),
    "pow_scalar": one(lambda x: x.pow(3.0)),
    "square": one(torch.square),
    "sign": one(torch.sign),
    "floor": one(torch.floor),
    "ceil": one(torch.ceil),
    "round": one(torch.round),
    "not": mask_of(torch.logical_not),
    "cast, to f32": one(lambda x: x.to(torch.float32)),
    "cast, to f16": one(lambda x: x.to(torch.float16)),
    "cast, to bf16": one(lambda x: x.to(torch.bfloat16)),
    "cast, to i64": one(lambda x: x.to(torch.int64)),
    "cast, to u8": one(lambda x: x.to(torch.uint8)),
    "contiguous, transposed": one(lambda x: x.t().contiguous()),
    "sort": one(lambda x: torch.sort(x, stable=True)),
    "sort, one row": lambda dtype: ((normal(dtype, NUMEL),), lambda x: torch.sort(x, stable=True)),
    "argsort": one(lambda x: torch.argsort(x, stable=True)),
    "sort_by_key": lambda dtype: (
        (normal(dtype), normal(torch.float32)),
        lambda x, keys: x.gather(1, torch.argsort(keys, stable=True)),
    ),
    "topk": one(lambda x: torch.topk(x, 8)),
    "topk, one row": lambda dtype: ((normal(dtype, NUMEL),), lambda x: torch.topk(x, 8)),
    "permutation": lambda dtype: ((), lambda: torch.randperm(NUMEL)),
    "gather": lambda dtype: ((normal(dtype), below(4096, *SQUARE)), lambda x, i: x.gather(1, i)),
    "index_select": lambda dtype: ((normal(dtype), below(4096, 4096)), lambda x, i: x.index_select(0, i)),
    "scatter_add": lambda dtype: (
        (normal(dtype), below(4096, *SQUARE), normal(dtype)),
        lambda x, i, s: x.scatter_add(1, i, s),
    ),
    "index_add": lambda dtype: (
        (normal(dtype), below(4096, 4096), normal(dtype)),
        lambda x, i, s: x.index_add(0, i, s),
    ),
    "full": lambda dtype: ((), lambda: torch.full(SQUARE, 1.0, dtype=dtype)),
    "uniform": lambda dtype: ((), lambda: torch.rand(SQUARE, dtype=dtype)),
    "normal": lambda dtype: ((), lambda: torch.randn(SQUARE, dtype=dtype)),
    "bernoulli": lambda dtype: ((), lambda: torch.empty(SQUARE, dtype=dtype).bernoulli_(0.5)),
    "permutation": lambda dtype: ((), lambda: torch.randperm(NUMEL)),
    "add": two(torch.add),
    "sub": two(torch.sub),
    "mul": two(torch.mul),
    "div": two(torch.div),
    "minimum": two(torch.minimum),
    "maximum": two(torch.maximum),
    "pow": two(torch.pow),
    **{name: two(getattr(torch, name)) for name in ["eq", "ne", "lt", "le", "gt", "ge"]},
    **{f"{name}_scalar": one(lambda x, f=getattr(torch, name): f(x, 0.0)) for name in ["eq", "ne", "lt", "le", "gt", "ge"]},
    "add, a row": rows_of(torch.add, (N,)),
    **{name: lambda dtype, f=getattr(torch, f"logical_{name}"): ((flags(), flags()), f) for name in ["and", "or", "xor"]},
    "where_mask": lambda dtype: ((normal(dtype), flags(), normal(dtype)), lambda x, m, y: torch.where(m, x, y)),
    "masked_fill": lambda dtype: ((normal(dtype), flags()), lambda x, m: x.masked_fill(m, 1.0)),
    **{
        f"{name}, {of}": (mask_of if name in ["any", "all"] else one)(lambda x, f=f, axes=axes: f(x, axes))
        for of, axes in [("all", (0, 1)), ("rows", (1,)), ("columns", (0,))]
        for name, f in {
            "sum": lambda x, a: x.sum(a),
            "mean": lambda x, a: x.mean(a),
            "max": lambda x, a: x.amax(a),
            "min": lambda x, a: x.amin(a),
            "any": lambda x, a: x.any(a),
            "all": lambda x, a: x.all(a),
            "norm": lambda x, a: torch.linalg.vector_norm(x, dim=a),
            "var": lambda x, a: x.var(a),
            "std": lambda x, a: x.std(a),
            "logsumexp": lambda x, a: x.logsumexp(a),
            "prod": lambda x, a: x.prod() if len(a) > 1 else x.prod(a[0]),
            "argmax": lambda x, a: x.argmax() if len(a) > 1 else x.argmax(a[0]),
            "argmin": lambda x, a: x.argmin() if len(a) > 1 else x.argmin(a[0]),
        }.items()
    },
    "cumsum, rows": one(lambda x: x.cumsum(1)),
    "cumsum, columns": one(lambda x: x.cumsum(0)),
    "softmax": one(lambda x: x.softmax(1)),
    "softmax, columns": one(lambda x: x.softmax(0)),
    "log_softmax": one(lambda x: x.log_softmax(1)),
    "softmax_with": one(lambda x: (x * 0.125).softmax(1)),
    "softmax_with, mask": lambda dtype: (
        (normal(dtype), flags()), lambda x, m: (x * 0.125).masked_fill(~m, float("-inf")).softmax(1)),
    "layer_norm": rows_of(lambda x, w, b: F.layer_norm(x, (N,), w, b), (N,), (N,)),
    "rms_norm": rows_of(lambda x, w: F.rms_norm(x, (N,), w), (N,)),
    "l2_normalize": one(lambda x: F.normalize(x, dim=1)),
    "add_layer_norm": rows_of(lambda x, r, w, b: (F.layer_norm(x + r, (N,), w, b), x + r), SQUARE, (N,), (N,)),
    "add_rms_norm": rows_of(lambda x, r, w: (F.rms_norm(x + r, (N,), w), x + r), SQUARE, (N,)),
    "sort": one(lambda x: torch.sort(x, dim=1, stable=True)),
    "argsort": one(lambda x: torch.argsort(x, dim=1, stable=True)),
    "sort_by_key": two(lambda x, k: x.gather(1, torch.argsort(k, dim=1, stable=True))),
    "topk": one(lambda x: torch.topk(x, 8, 1)),
    "gather": lambda dtype: ((normal(dtype), below(N, *SQUARE)), lambda x, i: x.gather(1, i)),
    "index_select": lambda dtype: ((normal(dtype), below(SQUARE[0], SQUARE[0])), lambda x, i: x.index_select(0, i)),
    "scatter_add": lambda dtype: (
        (normal(dtype), below(N, *SQUARE), normal(dtype)), lambda x, i, y: x.scatter_add(1, i, y)),
    "index_add": lambda dtype: (
        (normal(dtype), below(SQUARE[0], SQUARE[0]), normal(dtype)), lambda x, i, y: x.index_add(0, i, y)),
    "cat": lambda dtype: (tuple(normal(dtype) for _ in range(3)), lambda *x: torch.cat(x, 1)),
    "stack": lambda dtype: (tuple(normal(dtype) for _ in range(3)), lambda *x: torch.stack(x, 2)),
    "pad": one(lambda x: F.pad(x, (1, 1, 1, 1))),
    "roll": one(lambda x: torch.roll(x, 1000, 1)),
    "flip": one(lambda x: torch.flip(x, (1,))),
    "repeat": one(lambda x: x.repeat(1, 2)),
    "tril": one(torch.tril),
    "triu": one(torch.triu),
    "dropout": one(lambda x: F.dropout(x, 0.1)),
    "fused": rows_of(lambda x, b, r: r + F.dropout(F.gelu(x + b), 0.1), (N,), SQUARE),
    "matmul": product(torch.matmul, (EDGE // 2, EDGE // 2), (EDGE // 2, EDGE // 2)),
    "matmul, small": product(torch.matmul, (EDGE // 8, EDGE // 8), (EDGE // 8, EDGE // 8)),
    "matmul, batched": product(torch.matmul, (NUMEL >> 18, 128, 128), (NUMEL >> 18, 128, 128)),
    "matmul, row by matrix": product(torch.matmul, (EDGE,), (EDGE, EDGE)),
    "matmul, matrix by column": product(torch.matmul, (EDGE, EDGE), (EDGE,)),
    "dot": product(torch.dot, (NUMEL,), (NUMEL,)),
    "linear": product(F.linear, (EDGE // 2, EDGE // 2), (EDGE // 2, EDGE // 2)),
    "linear_with": product(
        lambda x, w, b: F.relu(F.linear(x, w, b)), (EDGE // 2, EDGE // 2), (EDGE // 2, EDGE // 2), (EDGE // 2,)),
    "addmm_": product(
        lambda c, a, b: c.addmm_(a, b), (EDGE // 2, EDGE // 2), (EDGE // 2, EDGE // 2), (EDGE // 2, EDGE // 2)),
    "attention": product(F.scaled_dot_product_attention, LONG, LONG, LONG),
    "attention, causal": product(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True), LONG, LONG, LONG),
    "attention, short": product(F.scaled_dot_product_attention, SHORT, SHORT, SHORT),
}


def median(samples):
    return statistics.median(samples)


def theirs(entry, dtype):
    """The median time of PyTorch's op."""
    times = []
    operands, function = PEERS[entry](DTYPES[dtype])
    for _ in range(REPETITIONS + 1):
        fresh = [x.clone() for x in operands]
        start = time.perf_counter()
        out = function(*fresh)
        times.append(time.perf_counter() - start)
        del out, fresh
    return median(times[1:])


def ours(method, folder):
    """Our rows of a method: {row: seconds}."""
    command = [options.program, "--device", "cpu", "--only", "throughput", "--ops", method, "--out", folder]
    command += ["--quick"] if options.quick else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.path.join(folder, "latest.json")) as file:
        figures = json.load(file)["figures"]
    return {f["work"]: f["median"] for f in figures if f["metric"] == "time"}


def main():
    names = [name for name in PEERS if not options.ops or name.split(",")[0] in options.ops.split(",")]
    rows, slow = [], []
    print(f"PyTorch {torch.__version__}, numpy {numpy.__version__}, cores {options.cores}, {NUMEL} elements")
    print(f"{'op':44} {'taut ms':>9} {'PyTorch ms':>11} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for method in dict.fromkeys(name.split(",")[0] for name in names):
            for work, seconds in ours(method, folder).items():
                head, *rest = work.split(", ")
                rest = [part for part in rest if part != "in place"]
                dtype = head.split(" ")[-1]
                entry = ", ".join([head.rsplit(" ", 1)[0], *rest])
                if options.dtypes and dtype in DTYPES and dtype not in options.dtypes.split(","):
                    continue
                if entry not in PEERS:
                    print(f"{work:44} {seconds * 1e3:9.2f} {'-':>11}")
                    continue
                try:
                    peer = theirs(entry, dtype)
                except (RuntimeError, NotImplementedError) as error:
                    print(f"{work:44} {seconds * 1e3:9.2f}   PyTorch: {str(error).splitlines()[0]}")
                    continue
                ratio = seconds / peer
                rows.append({"op": work, "taut_s": seconds, "pytorch_s": peer, "ratio": ratio})
                mark = " <- slow" if ratio > 2 else ""
                print(f"{work:44} {seconds * 1e3:9.2f} {peer * 1e3:11.2f} {ratio:6.2f}{mark}", flush=True)
                if ratio > 2:
                    slow.append(work)
    if options.out:
        with open(options.out, "w") as file:
            json.dump({"schema": 1, **provenance(False), "rows": rows}, file, indent=1)
    print(f"{len(rows)} rows, {len(slow)} more than twice as slow: {', '.join(slow)}")
    return bool(slow)


sys.exit(main())
