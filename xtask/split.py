"""Splits a file for transport: split.py FILE FOLDER NAME LIMIT_BYTES

Writes FOLDER/1/NAME.1of2, FOLDER/2/NAME.2of2, .., of equal sizes of at most LIMIT_BYTES, and beside each NAME.sha256,
the sum of the whole in the format of sha256sum. Only the standard library. Prints the number of parts. Exit status:
0 done, 4 full disk, 1 else.
"""

import errno
import hashlib
import os
import sys

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(file, folder, name, limit_bytes):
    try:
        n_bytes = os.path.getsize(file)
        n = max(1, -(-n_bytes // int(limit_bytes)))
        digest = hashlib.sha256()
        with open(file, "rb") as whole:
            for i in range(n):
                data = whole.read((i + 1) * n_bytes // n - i * n_bytes // n)
                digest.update(data)
                path = os.path.join(folder, str(i + 1), f"{name}.{i + 1}of{n}")
                os.makedirs(os.path.dirname(path))
                with open(path, "wb") as part:
                    part.write(data)
        for i in range(n):
            with open(os.path.join(folder, str(i + 1), f"{name}.sha256"), "w") as f:
                f.write(f"{digest.hexdigest()}  {os.path.basename(name)}\n")
    except OSError as e:
        print(f"{e}", file=sys.stderr)
        return 4 if e.errno in FULL else 1
    print(n)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
