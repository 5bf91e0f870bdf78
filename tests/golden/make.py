#!/usr/bin/env python3
"""Writes golden.jsonl: what PyTorch gives for every op, in f64, on irregular shapes.

    python3 tests/golden/make.py > tests/golden/golden.jsonl

One line for each case: {"op", "params", "inputs", "outputs"}; a tensor is {"dtype", "shape", "data"}, its elements
row-major and little-endian in hex. Inputs are values of f32, so that an f32 run sees the same numbers; PyTorch
computes in f64. Needs PyTorch
2.4 or newer, no GPU; the same PyTorch on the same CPU writes the same bytes.
"""

import json
import math
import struct
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(20)
torch.set_num_threads(1)
CODES = {torch.float64: ("f64", "d"), torch.float32: ("f32", "f"), torch.int64: ("i64", "q"), torch.bool: ("bool", "?")}
# Parameters are f32.
SMALL, TINY = torch.tensor([1e-6, 1e-5], dtype=torch.float32).tolist()
lines = []


def tensor(x):
    name, code = CODES[x.dtype]
    x = x.contiguous()
    data = struct.pack(f"<{x.numel()}{code}", *x.flatten().tolist())
    return {"dtype": name, "shape": list(x.shape), "data": data.hex()}


def case(op, function, *inputs, **params):
    outputs = function(*[x.clone() for x in inputs])
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    inputs = [x.to(torch.float32) if x.dtype == torch.float64 else x for x in inputs]
    line = {"op": op, "params": params, "inputs": [tensor(x) for x in inputs], "outputs": [tensor(y) for y in outputs]}
    lines.append(json.dumps(line, separators=(",", ":")))


def normal(*shape, scale=1.0):
    return (torch.randn(*shape) * scale).to(torch.float32).to(torch.float64)


def positive(*shape):
    return (torch.rand(*shape) * 4 + 0.05).to(torch.float64)


def below(n, *shape):
    return torch.randint(0, n, shape)


def flags(*shape):
    return torch.rand(*shape) < 0.6


EDGES = torch.tensor([0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -0.5, 2.5, 88.0, -104.0, 1e-30, -3.0])
EDGES = EDGES.to(torch.float32).to(torch.float64)


def unary(op, function, x=None, **params):
    x = torch.cat([normal(3, 11, scale=3.0).flatten(), EDGES]) if x is None else x
    case(op, function, x, **params)


# Elementwise, one operand.
unary("relu", torch.relu)
unary("leaky_relu", lambda x: F.leaky_relu(x, 0.25), slope=0.25)
unary("neg", torch.neg)
unary("add_scalar", lambda x: x + 1.5, value=1.5)
unary("mul_scalar", lambda x: x * -0.75, value=-0.75)
unary("exp", torch.exp)
unary("log", torch.log)
unary("sqrt", torch.sqrt)
unary("rsqrt", torch.rsqrt)
unary("abs", torch.abs)
unary("sin", torch.sin)
unary("cos", torch.cos)
unary("tanh", torch.tanh)
unary("sigmoid", torch.sigmoid)
unary("silu", F.silu, normal(47, scale=4.0))
unary("gelu", F.gelu, normal(47, scale=2.0))
unary("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), normal(47, scale=2.0))
unary("elu", lambda x: F.elu(x, 0.5), alpha=0.5)
unary("softplus", lambda x: F.softplus(x, threshold=1e9), normal(47, scale=4.0))
unary("reciprocal", torch.reciprocal)
unary("clamp", lambda x: x.clamp(-0.5, 2.0), low=-0.5, high=2.0)
unary("pow_scalar", lambda x: x.pow(3.0), exponent=3.0)
unary("pow_scalar", lambda x: x.pow(-0.5), positive(5, 7), exponent=-0.5)
unary("square", torch.square)
unary("sign", lambda x: torch.where(x.isnan(), x, torch.sign(x)))
unary("floor", torch.floor)
unary("ceil", torch.ceil)
unary("round", torch.round)
unary("not", torch.logical_not, flags(3, 13))

# Elementwise, two and three operands.
for op, function in [("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("div", torch.div)]:
    case(op, function, normal(3, 1, 7), normal(5, 1))
for op, function in [("minimum", torch.minimum), ("maximum", torch.maximum)]:
    case(op, function, torch.cat([normal(33), EDGES]), torch.cat([normal(33), EDGES.flip(0)]))
case("pow", torch.pow, positive(4, 9), normal(9))
for op in ["eq", "ne", "lt", "le", "gt", "ge"]:
    a, b = below(4, 6, 7).to(torch.float64), below(4, 7).to(torch.float64)
    a[2, 3] = math.nan
    case(op, getattr(torch, op), a, b)
for op in ["and", "or", "xor"]:
    case(op, getattr(torch, f"logical_{op}"), flags(5, 7), flags(7))
case("where_mask", lambda x, mask, y: torch.where(mask, x, y), normal(4, 9), flags(4, 9), normal(9))
case("masked_fill", lambda x, mask: torch.where(mask, -2.5, x), normal(3, 5, 7), flags(5, 7), value=-2.5)

# Reductions and scans. `axes` are removed.
for axes in [[1], [0, 2], [0, 1, 2]]:
    x = normal(5, 7, 3)
    case("sum", lambda x: x.sum(axes), x, axes=axes)
    case("mean", lambda x: x.mean(axes), x, axes=axes)
    case("max", lambda x: x.amax(axes), x, axes=axes)
    case("min", lambda x: x.amin(axes), x, axes=axes)
    case("norm", lambda x: torch.linalg.vector_norm(x, dim=axes), x, axes=axes)
    case("var", lambda x: x.var(axes, correction=1), (x + 10.0).float().double(), axes=axes, correction=1)
    case("std", lambda x: x.std(axes, correction=0), (x - 3.0).float().double(), axes=axes, correction=0)
    case("logsumexp", lambda x: x.logsumexp(axes), (x * 20.0).float().double(), axes=axes)
case("prod", lambda x: x.prod(1), normal(6, 9), axes=[1])
case("argmax", lambda x: x.argmax(1), normal(7, 13), axis=1)
case("argmin", lambda x: x.argmin(0), normal(7, 13), axis=0)
case("any", lambda x: x.any(1), torch.rand(9, 5) < 0.15, axes=[1])
case("all", lambda x: x.all(0), torch.rand(5, 9) < 0.85, axes=[0])
case("cumsum", lambda x: x.cumsum(1), normal(3, 17, 2), axis=1)

# Rows.
for axis in [0, 1, 2]:
    case("softmax", lambda x: x.softmax(axis), normal(3, 13, 5, scale=4.0), axis=axis)
    case("log_softmax", lambda x: x.log_softmax(axis), normal(3, 13, 5, scale=4.0), axis=axis)
    case("l2_normalize", lambda x: F.normalize(x, dim=axis, eps=SMALL), normal(3, 13, 5), axis=axis, eps=SMALL)


def masked(x, mask):
    x = (x * 0.25).masked_fill(~mask, -math.inf).softmax(-1)
    return torch.where(mask.any(-1, keepdim=True), x, 0.0)


mask = flags(7, 19)
mask[3] = False
case("softmax_with", masked, normal(2, 7, 19, scale=4.0), mask, axis=2, scale=0.25)
case("layer_norm", lambda x, w, b: F.layer_norm(x, (37,), w, b, TINY), (normal(5, 37) + 2.0).float().double(), normal(37), normal(37), eps=TINY)
case("rms_norm", lambda x, w: F.rms_norm(x, (37,), w, SMALL), normal(5, 37), normal(37), eps=SMALL)
case(
    "add_layer_norm",
    lambda x, r, w, b: [F.layer_norm(x + r, (21,), w, b, TINY), x + r],
    normal(6, 21), normal(6, 21), normal(21), normal(21), eps=TINY,
)
case("add_rms_norm", lambda x, r, w: [F.rms_norm(x + r, (21,), w, SMALL), x + r], normal(6, 21), normal(6, 21), normal(21), eps=SMALL)

# Order. Without equal elements but where the order is stable.
case("sort", lambda x: torch.sort(x, dim=1, stable=True), below(9, 5, 31).to(torch.float64), axis=1, descending=False)
case("sort", lambda x: torch.sort(x, dim=0, descending=True, stable=True), normal(29, 3), axis=0, descending=True)
case("argsort", lambda x: torch.argsort(x, dim=1, stable=True), below(9, 5, 31).to(torch.float64), axis=1, descending=False)
case("topk", lambda x: torch.topk(x, 5, 1), normal(4, 37), axis=1, k=5, largest=True)
case("topk", lambda x: torch.topk(x, 3, 0, largest=False), normal(11, 5), axis=0, k=3, largest=False)

# Indices.
case("gather", lambda x, i: x.gather(1, i), normal(5, 11, 3), below(11, 5, 7, 3), axis=1)
case("index_select", lambda x, i: x.index_select(0, i), normal(13, 5), below(13, 21), axis=0)
case("index_select", lambda x, i: x.index_select(1, i), normal(3, 13, 5), below(13, 8), axis=1)
case("scatter_add", lambda x, i, s: x.scatter_add(0, i, s), normal(6, 5), below(6, 23, 5), normal(23, 5), axis=0)
case("index_add", lambda x, i, s: x.index_add(0, i, s), normal(6, 5), below(6, 23), normal(23, 5), axis=0)

# Arrangement.
case("cat", lambda a, b, c: torch.cat([a, b, c], 1), normal(3, 2, 5), normal(3, 1, 5), normal(3, 4, 5), axis=1)
case("stack", lambda a, b: torch.stack([a, b], 1), normal(3, 5), normal(3, 5), axis=1)
case("pad", lambda x: F.pad(x, (2, 0, 1, 3), value=7.5), normal(3, 5), padding=[[1, 3], [2, 0]], value=7.5)
case("roll", lambda x: torch.roll(x, (2, -3), (0, 1)), normal(5, 7), shifts=[2, -3], axes=[0, 1])
case("flip", lambda x: torch.flip(x, (0, 2)), normal(3, 4, 5), axes=[0, 2])
case("tril", lambda x: torch.tril(x, -1), normal(2, 7, 5), diagonal=-1)
case("triu", lambda x: torch.triu(x, 2), normal(2, 5, 7), diagonal=2)

# Products.
case("matmul", torch.matmul, normal(7, 13), normal(13, 5))
case("matmul", torch.matmul, normal(3, 1, 5, 7), normal(2, 7, 9))
case("matmul", torch.matmul, normal(11), normal(11, 6))
case("matmul", torch.matmul, normal(4, 6, 11), normal(11))
case("dot", torch.dot, normal(37), normal(37))
case("outer", torch.outer, normal(5), normal(9))
case("linear", F.linear, normal(2, 5, 13), normal(7, 13))
for name, function in [("identity", lambda x: x), ("relu", F.relu), ("gelu", F.gelu), ("silu", F.silu)]:
    f = lambda x, w, b: function(F.linear(x, w, b))
    case("linear_with", f, normal(5, 13), normal(7, 13), normal(7), activation=name)
    g = lambda x, b, r: r + function(x + b)
    case("fused", g, normal(5, 13), normal(13), normal(5, 13), activation=name)
for subscripts, shapes in [
    ("ij,jk->ik", [(5, 7), (7, 3)]),
    ("bij,bkj->bik", [(2, 5, 7), (2, 3, 7)]),
    ("bhid,bhjd->bhij", [(2, 3, 5, 4), (2, 3, 6, 4)]),
    ("i,j->ij", [(5,), (7,)]),
    ("ij,ij->", [(5, 7), (5, 7)]),
    ("ijk->ki", [(3, 4, 5)]),
    ("bi,bi->b", [(6, 7), (6, 7)]),
]:
    inputs = [normal(*shape) for shape in shapes]
    case("einsum", lambda *x: torch.einsum(subscripts, *x), *inputs, subscripts=subscripts)



def attended(q, k, v, scale, causal):
    group, (n, m) = q.shape[1] // k.shape[1], (q.shape[2], k.shape[2])
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    mask = torch.ones(n, m, dtype=torch.bool).tril(m - n) if causal else None
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


# Attention.
for causal, scale, heads, n, m in [(False, None, 2, 5, 7), (True, None, 2, 7, 7), (True, 0.25, 4, 3, 6)]:
    case(
        "attention", lambda q, k, v: attended(q, k, v, scale, causal),
        normal(2, heads, n, 13), normal(2, 2, m, 13), normal(2, 2, m, 13), scale=scale, causal=causal,
    )
lengths = [3, 1, 6]
case(
    "attention_packed",
    lambda *x: torch.cat([
        attended(*[part.transpose(0, 1)[None] for part in parts], None, True)[0].transpose(0, 1)
        for parts in zip(*[operand.split(lengths) for operand in x])
    ]),
    normal(10, 2, 8), normal(10, 2, 8), normal(10, 2, 8), lengths=lengths, causal=True,
)

ops = sorted({json.loads(line)["op"] for line in lines})
print(f"{len(lines)} cases of {len(ops)} ops by PyTorch {torch.__version__}", file=sys.stderr)
print("\n".join(lines))
