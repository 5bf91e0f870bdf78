#!/usr/bin/env python3
"""Every op of taut on the CPU beside PyTorch and numpy on the same cores, in one run.

    python3 benches/compare.py PROGRAM [--cores 0,1] [--out FILE.json] [--ops relu,sum]

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

NUMEL = 1 << 24
REPETITIONS = 7

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program")
parser.add_argument("--cores", default="0,1")
parser.add_argument("--out")
parser.add_argument("--ops")
options = parser.parse_args()
cores = [int(core) for core in options.cores.split(",")]
os.sched_setaffinity(0, cores)  # children too
for name in ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"]:
    os.environ[name] = str(len(cores))

import numpy
import torch
import torch.nn.functional as F

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


def in_place(function):
    """The same, over the first operand: (operands, function) of the twin."""
    return lambda dtype: ((normal(dtype),), function)


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
    "not": lambda dtype: ((flags(),), torch.logical_not),
    "cast, to f32": one(lambda x: x.to(torch.float32)),
    "cast, to f16": one(lambda x: x.to(torch.float16)),
    "cast, to bf16": one(lambda x: x.to(torch.bfloat16)),
    "cast, to i64": one(lambda x: x.to(torch.int64)),
    "cast, to u8": one(lambda x: x.to(torch.uint8)),
    "contiguous, transposed": one(lambda x: x.t().contiguous()),
    "full": lambda dtype: ((), lambda: torch.full(SQUARE, 1.0, dtype=dtype)),
    "uniform": lambda dtype: ((), lambda: torch.rand(SQUARE, dtype=dtype)),
    "normal": lambda dtype: ((), lambda: torch.randn(SQUARE, dtype=dtype)),
    "bernoulli": lambda dtype: ((), lambda: torch.empty(SQUARE, dtype=dtype).bernoulli_(0.5)),
    "cat": lambda dtype: ((normal(dtype), normal(dtype), normal(dtype)), lambda *x: torch.cat(x, 1)),
    "stack": lambda dtype: ((normal(dtype), normal(dtype), normal(dtype)), lambda *x: torch.stack(x, 2)),
    "pad": one(lambda x: F.pad(x, (1, 1, 1, 1))),
    "roll": one(lambda x: torch.roll(x, 1000, 1)),
    "flip": one(lambda x: torch.flip(x, (1,))),
    "repeat": one(lambda x: x.repeat(1, 2)),
    "tril": one(torch.tril),
    "triu": one(torch.triu),
    "tril_mask": lambda dtype: ((), lambda: torch.ones(SQUARE, dtype=torch.bool).tril_()),
    "dropout": one(lambda x: F.dropout(x, 0.1)),
    "fused": lambda dtype: (
        (normal(dtype), normal(dtype, 4096), normal(dtype)),
        lambda x, bias, residual: F.dropout(F.gelu(x + bias), 0.1) + residual,
    ),
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
            json.dump({"torch": torch.__version__, "cores": len(cores), "rows": rows}, file, indent=1)
    print(f"{len(rows)} rows, {len(slow)} more than twice as slow: {', '.join(slow)}")
    return bool(slow)


sys.exit(main())
