"""Products by every way that cuBLASLt proposes for them, through the library that PyTorch has loaded."""

import ctypes

import torch

WORKSPACE = 64 << 20
MOST_WAYS = 32

HALF, BFLOAT, FLOAT = 2, 14, 0
SUMS_F32, SUMS_TF32 = 68, 77
TRANSPOSE_FIRST, TRANSPOSE_SECOND = 3, 4
BATCH_COUNT, BATCH_STRIDE = 5, 6
MOST_WORKSPACE = 1
TYPES = {torch.float16: HALF, torch.bfloat16: BFLOAT, torch.float32: FLOAT}


class Proposal(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = [
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace", ctypes.c_size_t),
        ("status", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    ]


class CublasLt:
    def __init__(self):
        torch.zeros(8, 8, device="cuda").mm(torch.zeros(8, 8, device="cuda"))
        self.library = ctypes.CDLL(f"libcublasLt.so.{torch.version.cuda.split('.')[0]}")
        self.handle = self.made("cublasLtCreate")
        self.workspace = torch.empty(WORKSPACE, dtype=torch.uint8, device="cuda")
        self.preference = self.made("cublasLtMatmulPreferenceCreate")
        self.set("cublasLtMatmulPreferenceSetAttribute", self.preference, MOST_WORKSPACE, ctypes.c_size_t(WORKSPACE))

    def call(self, name, *arguments):
        status = getattr(self.library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name}: status {status}")

    def made(self, name, *arguments):
        made = ctypes.c_void_p()
        self.call(name, ctypes.byref(made), *arguments)
        return made

    def set(self, name, of, attribute, value):
        self.call(name, of, attribute, ctypes.byref(value), ctypes.c_size_t(ctypes.sizeof(value)))

    def layout(self, x):
        """A matrix as cuBLAS sees it, column after column, and whether that is not its transpose."""
        rows, columns = x.shape[-2:]
        is_plain = x.stride(-2) == 1
        if not is_plain:
            rows, columns = columns, rows
        leading = max(rows, x.stride(-1 if is_plain else -2))
        sizes = ctypes.c_uint64(rows), ctypes.c_uint64(columns), ctypes.c_int64(leading)
        layout = self.made("cublasLtMatrixLayoutCreate", TYPES[x.dtype], *sizes)
        if x.dim() == 3:
            self.set("cublasLtMatrixLayoutSetAttribute", layout, BATCH_COUNT, ctypes.c_int32(x.shape[0]))
            self.set("cublasLtMatrixLayoutSetAttribute", layout, BATCH_STRIDE, ctypes.c_int64(x.stride(0)))
        return layout, is_plain

    def ways(self, a, b, is_exact=False):
        """Functions of other factors that lie alike, one for each way of multiplying these, the proposed first."""
        out = torch.empty(*a.shape[:-1], b.shape[-1], dtype=a.dtype, device=a.device)
        sums = SUMS_TF32 if a.dtype is torch.float32 and not is_exact else SUMS_F32
        descriptor = self.made("cublasLtMatmulDescCreate", sums, FLOAT)
        # Row after row, a product is that of the transposes in the other order.
        first, first_is_plain = self.layout(b.transpose(-1, -2))
        second, second_is_plain = self.layout(a.transpose(-1, -2))
        result, _ = self.layout(out.transpose(-1, -2))
        for which, is_plain in ((TRANSPOSE_FIRST, first_is_plain), (TRANSPOSE_SECOND, second_is_plain)):
            turned = ctypes.c_int32(0 if is_plain else 1)
            self.set("cublasLtMatmulDescSetAttribute", descriptor, which, turned)
        proposals, count = (Proposal * MOST_WAYS)(), ctypes.c_int()
        layouts = first, second, result, result
        self.call(
            "cublasLtMatmulAlgoGetHeuristic",
            *(self.handle, descriptor, *layouts, self.preference, MOST_WAYS, proposals, ctypes.byref(count)),
        )
        one, zero = ctypes.c_float(1), ctypes.c_float(0)

        def multiply(a, b, proposal):
            place = lambda x: ctypes.c_void_p(x.data_ptr())
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            workspace = place(self.workspace), ctypes.c_size_t(WORKSPACE)
            factors = place(b), first, place(a), second
            to = place(out), result
            self.call(
                "cublasLtMatmul",
                *(self.handle, descriptor, ctypes.byref(one), *factors, ctypes.byref(zero), *to, *to),
                *(ctypes.byref(proposal.algorithm), *workspace, stream),
            )
            return out

        usable = [proposal for proposal in proposals[: count.value] if proposal.status == 0]
        return [lambda a, b, proposal=proposal: multiply(a, b, proposal) for proposal in usable]
