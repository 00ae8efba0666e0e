"""Which device computes, in which number format, and with how much memory.

The device is not a parameter: SEGLINE_DEVICE=auto|cpu|cuda chooses it (auto by default). MLflow records it.
"""

import ctypes
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from segline.core.errors import DeviceError
from segline.monitoring import console

Precision = Literal["float32", "bfloat16"]

VARIABLE = "SEGLINE_DEVICE"
FORCE_BFLOAT16 = "SEGLINE_FORCE_BFLOAT16"
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # from glibc's malloc.h
_CACHES = "/sys/devices/system/cpu/cpu0/cache"


def pick() -> torch.device:
    """The device asked for. Raises DeviceError if it is missing: never a silent fallback."""
    wanted = os.environ.get(VARIABLE) or "auto"
    if wanted not in ("auto", "cpu", "cuda"):
        raise DeviceError(VARIABLE, f"expected auto, cpu or cuda, got {wanted!r}", "Set it to one of them or unset it.")
    if wanted == "cuda" and not torch.cuda.is_available():
        problem = f"cuda is asked for, but torch {torch.__version__} sees no CUDA device"
        raise DeviceError(VARIABLE, problem, "Install a CUDA build of torch and a driver, or set it to auto or cpu.")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def precision(device: torch.device, wanted: Precision | Literal["auto"]) -> Precision:
    """`wanted`, where auto is bfloat16 if the device computes it natively, else float32."""
    if wanted == "auto":
        return "bfloat16" if _has_bfloat16(device) else "float32"
    return wanted


def require_precision(device: torch.device, wanted: Precision | Literal["auto"]) -> None:
    """Raises DeviceError for bfloat16 on a CPU without it, where it is 25 to 80 times slower than float32."""
    if wanted != "bfloat16" or device.type != "cpu" or os.environ.get(FORCE_BFLOAT16) == "1":
        return
    if not _has_bfloat16(device):
        problem = "bfloat16, but this CPU has no avx512_bf16 and would compute it 25 to 80 times slower than float32"
        remedy = f"Write auto or float32, train on a GPU, or set {FORCE_BFLOAT16}=1 to use it anyway."
        raise DeviceError("params.yaml: train.precision", problem, remedy)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether it has instructions for it: a CPU with avx512_bf16 (as every one with AMX), or a GPU from Ampere on."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())


def require_compiler(device: torch.device) -> None:
    """Raises DeviceError if `torch.compile` cannot compile for the device: it needs a C++ compiler, or Triton."""
    try:
        torch.compile(torch.neg)(torch.zeros(1, device=device))
    except RuntimeError as error:
        problem = f"true, but torch.compile fails here ({str(error).strip().splitlines()[0]})"
        remedy = "Write false, or install a C++ compiler (g++, or the one that CXX names) and, for a GPU, Triton."
        raise DeviceError("params.yaml: train.compile", problem, remedy) from None


def free_memory(device: torch.device) -> int:
    """Bytes that are left for tensors on a GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free)


def keep_memory() -> None:
    """From here on this process keeps freed memory for its next allocation. Does nothing unless the C library is glibc.

    glibc returns large blocks to the kernel at once, which then clears every page of the next one: a tenth of a large
    network's step, a third of a small one's. Results are the same; the peak of a U-Net of 34 million parameters grows
    by 6 %.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, -1)


@contextmanager
def within_memory(remedy: str) -> Iterator[None]:
    """Turns torch's out-of-memory errors, on a GPU or a CPU, into a DeviceError with that remedy."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in ("out of memory", "not enough memory", "can't allocate memory")):
            raise
        first_line = str(error).split("\n", maxsplit=1)[0]
        raise DeviceError("memory", first_line, f"To need less, {remedy}.") from None


def description(device: torch.device) -> dict[str, str]:
    """What must match for a rerun to give the same model bytes; for MLflow and `segline machine`, not for outputs."""
    facts = {"device": device.type, "torch": torch.__version__, "threads": str(torch.get_num_threads())}
    if device.type == "cuda":
        return facts | {"gpu/name": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda)}
    return facts | {"cpu_capability": torch.backends.cpu.get_cpu_capability()}


def peak_memory(device: torch.device) -> dict[str, float]:
    """The most memory that tensors have taken on a GPU so far, in MiB; empty for a CPU."""
    if device.type != "cuda":
        return {}
    return {"gpu/peak_memory_mb": torch.cuda.max_memory_allocated(device) / 2**20}


def fingerprint() -> dict[str, str]:
    """`description` of the device picked, with the cache sizes by which oneDNN chooses its blocks."""
    device = pick()
    sizes = [path.read_text(encoding="ascii").strip() for path in sorted(Path(_CACHES).glob("index*/size"))]
    return description(device) | {"caches": " ".join(sizes)}


def command(_: Namespace) -> None:
    """`segline machine`: one fact per line."""
    for name, value in fingerprint().items():
        console.say(f"{name}: {value}")
