"""Writes the small files in `files/` and in `../corpus/`, from the words of the formats alone: no library but Python's own.

safetensors: a u64 length, a JSON header padded with spaces to 8 bytes, the data; `__metadata__` first, then large
elements first, then by name. npy: a magic, a version, a length, a dictionary padded with spaces so that the data
begins at a multiple of 64 bytes, the data.
"""

import json
import struct
from pathlib import Path

FILES = Path(__file__).parent / "files"
CORPUS = Path(__file__).parent.parent / "corpus"


def halves(values):
    return b"".join(struct.pack("<e", value) for value in values)


def brains(values):
    return b"".join(struct.pack("<f", value)[2:] for value in values)


SAVED = [
    ("count", "I64", [1], struct.pack("<q", -5)),
    ("exact", "F64", [2], struct.pack("<2d", 0.1, float("-inf"))),
    ("empty", "F32", [0, 3], b""),
    ("layer.weight", "F32", [2, 3], struct.pack("<6f", 1, -2, 3.5, 0, 1e-40, float("inf"))),
    ("scalar", "F32", [], struct.pack("<f", 0.25)),
    ("ids", "U32", [2], struct.pack("<2I", 7, 2**32 - 1)),
    ("brain", "BF16", [3], brains([1, -0.5, 2**100])),
    ("half", "F16", [2, 1], halves([1.5, -65504])),
    ("bytes", "U8", [3], bytes([0, 128, 255])),
    ('mask "é"\n', "BOOL", [3], bytes([1, 0, 1])),
]

# Types that tensors do not have, data that is not aligned, no padding, keys in another order, keys of the future.
FOREIGN = [
    ("b", "U8", [1], bytes([9])),
    ("f8", "F8_E4M3", [2], bytes([0x38, 0xB8])),
    ("f4", "F4", [2, 3], bytes([1, 2, 3])),
    ("i32", "I32", [2], struct.pack("<2i", 1, -1)),
    ("w", "F32", [3], struct.pack("<3f", 1, 2, -3)),
]


def safetensors(tensors, metadata, align):
    header, at = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, shape, data in tensors:
        entry = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        header[name] = entry if align else {"of the future": [{}], **dict(reversed(list(entry.items())))}
        at += len(data)
    # As compact as can be; what is not ASCII stands as it is.
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    if align:
        text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, _, data in tensors)


def npy(version, descr, shape, data):
    form = "<H" if version == 1 else "<I"
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    length = len(text) + 1 + -(8 + struct.calcsize(form) + len(text) + 1) % 64
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(form, length) + text.ljust(length - 1) + b"\n" + data


def written(header, data=b""):
    return struct.pack("<Q", len(header)) + header.encode() + data


def tensor(name, shape, begin, end, dtype="U8"):
    return f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}'


def corpus():
    """Where the fuzz tests begin, beside the files above: what is odd, and what is wrong."""
    deep = '{"x":' + "[" * 100 + "]" * 100 + "}"
    python2 = "{'descr': '<i8', 'fortran_order': False, 'shape': (2L, 1L)}\n"
    return {
        "overlap.safetensors": written("{" + tensor("a", [4], 0, 4) + "," + tensor("b", [4], 2, 6) + "}", bytes(6)),
        "gap.safetensors": written("{" + tensor("a", [2], 0, 2) + "," + tensor("b", [2], 4, 6) + "}", bytes(6)),
        "twice.safetensors": written("{" + tensor("a", [2], 0, 2) + "," + tensor("a", [2], 2, 4) + "}", bytes(4)),
        "ranks.safetensors": written("{" + tensor("a", [1] * 8, 0, 1) + "," + tensor("b", [1] * 9, 1, 2) + "}", bytes(2)),
        "empties.safetensors": written("{" + tensor("a", [0], 0, 0) + "," + tensor("b", [0, 2**40], 0, 0) + "}"),
        "overflow.safetensors": written("{" + tensor("a", [2**32, 2**32], 0, 0) + "}"),
        "bools.safetensors": written("{" + tensor("a", [3], 0, 3, "BOOL") + "}", bytes([0, 1, 2])),
        "escapes.safetensors": written(r'{"\u00e9\"\\\n" : {"shape":[ ],"data_offsets":[0,1],"dtype":"\u00558"}}' + "  ", b"x"),
        "deep.safetensors": written(deep),
        "metadata.safetensors": written('{"__metadata__":{"a":"b","c":"\\ud83d\\ude00"}}'),
        "fortran.npy": npy(1, "<f4", (2, 1), bytes(8)).replace(b"False", b"True "),
        "object.npy": npy(1, "|O", (1,), b"\x80"),
        "record.npy": npy(1, "@", (1,), bytes(8)).replace(b"'@'", b"[('a', '<f4'), ('b', [('c', '<i4')])]"),
        "scalar.npy": npy(1, "<f4", (), bytes(4)),
        "python2.npy": b"\x93NUMPY\x01\0" + struct.pack("<H", len(python2)) + python2.encode() + bytes(16),
    }


def main():
    files = {
        "saved.safetensors": safetensors(SAVED, {"format": "pt"}, True),
        "foreign.safetensors": safetensors(FOREIGN, {"a": "1", "b": ""}, False),
        "none.safetensors": safetensors([], None, True),
        "f4.npy": npy(1, "<f4", (3, 2), struct.pack("<6f", 1, 2, 3, -4, 0.5, float("inf"))),
        "i8.npy": npy(2, "<i8", (4,), struct.pack("<4q", 1, -2, 2**40, 0)),
        "b1.npy": npy(3, "|b1", (2, 1, 2), bytes([1, 0, 0, 1])),
        "f2.npy": npy(1, "<f2", (2, 0), b""),
        "f8.npy": npy(1, "<f8", (2, 2), struct.pack("<4d", 0.1, -0.0, 1e300, 2)),
    }
    for folder, contents in ((FILES, files), (CORPUS, corpus())):
        for name, data in contents.items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
