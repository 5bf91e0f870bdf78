#!/usr/bin/env python3
"""Products by PyTorch and by every way that cuBLASLt proposes, at the shapes of the group `products`: graph-timed, on
operands that no cache holds unless the row says so, with rests that keep the card from its limit of power, as there.

    python3 benches/products.py [--turns N] [--tuning FILE] [--out FILE.txt] --run taut-bench

Our program and its peer take turns, ours once more than the other. The peer is the fastest of PyTorch's own call and, in the
first turn, of all ways that cuBLASLt proposes within 64 MiB of workspace. Prints the median of the turns of both, how many
times as fast ours is, and how far the turns of each are apart; with a table of `taut-bench --tune`, in each of our turns both
without and with it. Needs PyTorch with a CUDA card.
"""

import argparse
import json
import math
import re
import statistics
import subprocess
import tempfile
import time

import torch

from cublaslt import CublasLt
from machine import provenance

ROTATED = 256 << 20
REST = 10  # times as long as a repetition


def ours(program, group="products"):
    """Our seconds by the names of the rows of a group."""
    with tempfile.TemporaryDirectory() as out:
        arguments = ["--only", group, "--device", "cuda", "--out", out]
        subprocess.run(program + arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(f"{out}/latest.json") as file:
            figures = json.load(file)["figures"]
    return {figure["work"]: figure["median"] for figure in figures if figure["metric"] == "time"}


def shape(name):
    """What a row says: count, number of parts or 0, m, n, k, lie, dtype, whether f32 is no tf32 and caches hold all."""
    pattern = r"(?:(\d+) x |(\d+) parts, )?(\d+) x (\d+) x (\d+), (\w\w), (f16|tf32|f32)(, cached)?$"
    count, cut, *sizes, lie, dtype, cached = re.match(pattern, name).groups()
    element = torch.float16 if dtype == "f16" else torch.float32
    return int(count or 1), int(cut or 0), *map(int, sizes), lie, element, dtype == "f32", bool(cached)


def is_aligned(name):
    _, cut, m, n, k, *_ = shape(name)
    return not cut and all(extent % 8 == 0 or extent == 1 for extent in (m, n, k))


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


class Peer:
    """A row as PyTorch and cuBLASLt do it."""

    def __init__(self, library, name):
        count, self.cut, m, n, k, lie, dtype, is_exact, is_cached = shape(name)
        torch.backends.cuda.matmul.allow_tf32 = not is_exact
        self.flops = 2 * count * m * n * k
        self.way = None
        if self.cut:
            self.sets, self.ways = [()], [grouped(self.cut, m, n, k)]
            return
        size = dtype.itemsize * count * (m * k + k * n + m * n)
        sets = 1 if is_cached else max(1, min(64, ROTATED // size))
        self.sets = [operands(count, m, n, k, lie, dtype) for _ in range(sets)]
        self.ways = [torch.matmul, *library.ways(*self.sets[0], is_exact)]

    def graph(self, multiply, calls):
        """So many calls, each on other operands, and the call that repeats them."""
        for factors in self.sets[:2]:
            multiply(*factors)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for i in range(calls):
                multiply(*self.sets[i % len(self.sets)])
        return lambda: timed(graph, calls)

    def choose(self):
        """Tries each way for a moment: the number of the fastest."""
        calls = int(max(2, min(40, 1e11 / self.flops)))
        tried = []
        for multiply in self.ways:
            again = self.graph(multiply, calls)
            tried.append(min(again() for _ in range(4)))
        return tried.index(min(tried))

    def seconds(self, way):
        calls = int(max(4, min(200, 4e11 / self.flops)))
        again, times = self.graph(self.ways[way], calls), []
        for _ in range(8):
            times.append(again())
            time.sleep(REST * times[-1] * calls)
        return statistics.median(times[1:])


def timed(graph, calls):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    graph.replay()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) * 1e-3 / calls


def apart(times):
    return max(times) / min(times) - 1


def mean(ratios):
    return math.exp(statistics.fmean(map(math.log, ratios)))


def leave(lines, path):
    """Prints a table, and keeps it in a file if it has a path."""
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if path:
        with open(path, "w") as file:
            file.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--tuning")
    parser.add_argument("--out")
    parser.add_argument("--run", nargs=argparse.REMAINDER, required=True)
    options = parser.parse_args()
    torch.manual_seed(1)
    library = CublasLt()

    programs = [options.run] + ([options.run + ["--tuning", options.tuning]] if options.tuning else [])
    own, theirs, chosen = [[ours(program) for program in programs]], [], {}
    for _ in range(options.turns):
        turn = {}
        for name in own[0][0]:
            peer = Peer(library, name)
            if name not in chosen:
                chosen[name] = peer.choose(), len(peer.ways)
            turn[name] = peer.seconds(chosen[name][0])
        theirs.append(turn)
        torch.cuda.empty_cache()
        own.append([ours(program) for program in programs])

    columns = ["ours", "tuned"][: len(programs)] + ["theirs"]
    titles = " | ".join(f"{column:>10} {'TFLOP/s':>8} {'apart':>6}" for column in columns)
    lines = [json.dumps(provenance(True)), f"{'product':44} {titles} {'way':>6} | " + "  ".join(["ratio", "tuned"][: len(programs)])]
    ratios = [{} for _ in programs]
    for name in own[0][0]:
        count, _, m, n, k, *_ = shape(name)
        rate = 2e-12 * count * m * n * k
        turns = [[turn[i][name] for turn in own] for i in range(len(programs))] + [[turn[name] for turn in theirs]]
        *mine, other = medians = [statistics.median(times) for times in turns]
        cells = [
            f"{median * 1e6:7.1f} us {rate / median:8.1f} {apart(times):6.1%}" for median, times in zip(medians, turns)
        ]
        for by_name, median in zip(ratios, mine):
            by_name[name] = other / median
        way, ways = chosen[name]
        lines.append(f"{name:44} {' | '.join(cells)} {way:2}/{ways:<3} | " + "  ".join(f"{by_name[name]:5.2f}" for by_name in ratios))
    for column, by_name in zip(columns, ratios):
        aligned = [ratio for name, ratio in by_name.items() if is_aligned(name)]
        lines.append(f"{column}: geometric mean over {len(by_name)} shapes: {mean(by_name.values()):.3f}")
        lines.append(f"{column}: over the {len(aligned)} aligned ones: {mean(aligned):.3f}; below 0.97: {sum(r < 0.97 for r in aligned)}")
    leave(lines, options.out)


if __name__ == "__main__":
    main()
