"""Which device computes, and which number formats it has.

The device is no parameter: SEGLINE_DEVICE=auto|cpu|cuda names it (auto by default). It is recorded in MLflow.
"""

import ctypes
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from segline.core.errors import DeviceError
from segline.monitoring import console

VARIABLE = "SEGLINE_DEVICE"
FORCE_BFLOAT16 = "SEGLINE_FORCE_BFLOAT16"
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h
_CACHES = "/sys/devices/system/cpu/cpu0/cache"


def pick() -> torch.device:
    """The device asked for. Raises DeviceError where it is missing: never a silent fallback."""
    wanted = os.environ.get(VARIABLE) or "auto"
    if wanted not in ("auto", "cpu", "cuda"):
        raise DeviceError(VARIABLE, f"expected auto, cpu or cuda, got {wanted!r}", "Set it to one of them or unset it.")
    if wanted == "cuda" and not torch.cuda.is_available():
        found = f"cuda is asked for, but torch {torch.__version__} sees no CUDA device"
        raise DeviceError(VARIABLE, found, "Install a CUDA build of torch and a driver, or set it to auto or cpu.")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def require_precision(device: torch.device, precision: str) -> None:
    """Raises DeviceError for bfloat16 on a CPU without it, where it is 25 to 80 times slower than float32."""
    if precision != "bfloat16" or device.type != "cpu" or os.environ.get(FORCE_BFLOAT16) == "1":
        return
    if not torch.cpu._is_avx512_bf16_supported():
        found = "bfloat16, but this CPU has no avx512_bf16 and would compute it 25 to 80 times slower than float32"
        remedy = f"Write float32, train on a GPU, or set {FORCE_BFLOAT16}=1 to go on all the same."
        raise DeviceError("params.yaml: train.precision", found, remedy)


def require_compiler(device: torch.device) -> None:
    """Raises DeviceError if `torch.compile` cannot make a program for it: that takes a C++ compiler, or Triton."""
    try:
        torch.compile(torch.neg)(torch.zeros(1, device=device))
    except RuntimeError as error:
        found = f"true, but torch.compile fails here ({str(error).strip().splitlines()[0]})"
        remedy = "Write false, or install a C++ compiler (g++, or the one that CXX names) and, for a GPU, Triton."
        raise DeviceError("params.yaml: train.compile", found, remedy) from None


def free_memory(device: torch.device) -> int:
    """Bytes that tensors on it may still take: those free on a GPU, those available to a program on a CPU."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return int(psutil.virtual_memory().available)


def keep_memory() -> None:
    """From here on this process keeps what it frees for its next allocation; nothing where the C library is not glibc.

    glibc hands large blocks back at once, and the kernel clears every page of the next one: a tenth of a large
    network's step, a third of a small one's. What is computed stays the same; at its peak S1's training takes 6 % more.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, -1)


@contextmanager
def within_memory(remedy: str) -> Iterator[None]:
    """Turns torch's out-of-memory errors, of a GPU or of the CPU's allocator, into a DeviceError with that remedy."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in ("out of memory", "not enough memory", "can't allocate memory")):
            raise
        first_line = str(error).split("\n", maxsplit=1)[0]
        raise DeviceError("memory", first_line, f"To need less, {remedy}.") from None


def description(device: torch.device) -> dict[str, str]:
    """What a rerun must match to give the same model bytes: for MLflow and `segline machine`, never for an output."""
    facts = {"device": device.type, "torch": torch.__version__, "threads": str(torch.get_num_threads())}
    if device.type == "cuda":
        return facts | {"gpu/name": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda)}
    return facts | {"cpu_capability": torch.backends.cpu.get_cpu_capability()}


def peak_memory(device: torch.device) -> dict[str, float]:
    """The most memory tensors have taken on a GPU so far, in MiB; nothing on a CPU."""
    if device.type != "cuda":
        return {}
    return {"gpu/peak_memory_mb": torch.cuda.max_memory_allocated(device) / 2**20}


def fingerprint() -> dict[str, str]:
    """`description` of the device picked, with the caches that oneDNN sizes its blocks by."""
    device = pick()
    sizes = [path.read_text(encoding="ascii").strip() for path in sorted(Path(_CACHES).glob("index*/size"))]
    return description(device) | {"caches": " ".join(sizes)}


def command(_: Namespace) -> None:
    """`segline machine`: one line a fact."""
    for name, value in fingerprint().items():
        console.say(f"{name}: {value}")
