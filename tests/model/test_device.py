"""The device is the one asked for, or an error; never a silent fallback."""

import platform
import subprocess
import sys

import pytest
import torch

from segline.core.errors import DeviceError
from segline.model import device

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")


def test_auto_takes_cuda_if_there_is_one_and_otherwise_the_cpu(monkeypatch):
    monkeypatch.delenv(device.VARIABLE, raising=False)

    assert device.pick().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_an_empty_variable_is_auto(monkeypatch):
    monkeypatch.setenv(device.VARIABLE, "")

    assert device.pick().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_cpu_is_the_cpu_even_beside_a_gpu(monkeypatch):
    monkeypatch.setenv(device.VARIABLE, "cpu")

    assert device.pick() == torch.device("cpu")


@NO_CUDA
def test_cuda_that_is_missing_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setenv(device.VARIABLE, "cuda")

    with pytest.raises(DeviceError, match="sees no CUDA device"):
        device.pick()


def test_an_unknown_device_is_named_with_the_known_ones(monkeypatch):
    monkeypatch.setenv(device.VARIABLE, "gpu")

    with pytest.raises(DeviceError, match="expected auto, cpu or cuda, got 'gpu'"):
        device.pick()


def test_bfloat16_is_refused_on_a_cpu_without_it_unless_forced(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.delenv(device.FORCE_BFLOAT16, raising=False)
    with pytest.raises(DeviceError, match=r"train.precision: bfloat16, but this CPU has no avx512_bf16"):
        device.require_precision(torch.device("cpu"), "bfloat16")

    monkeypatch.setenv(device.FORCE_BFLOAT16, "1")
    device.require_precision(torch.device("cpu"), "bfloat16")
    device.require_precision(torch.device("cpu"), "float32")


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_bfloat16_if_the_cpu_computes_it_natively(monkeypatch, native, expected):
    """Also where SEGLINE_FORCE_BFLOAT16=1 would let a slow bfloat16 through."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setenv(device.FORCE_BFLOAT16, "1")
    cpu = torch.device("cpu")
    device.require_precision(cpu, "auto")

    assert expected == device.precision(cpu, "auto")
    assert ["float32", "bfloat16"] == [device.precision(cpu, wanted) for wanted in ("float32", "bfloat16")]


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_does_not_take_bfloat16_that_a_gpu_emulates(monkeypatch, native, expected):
    """torch says that every GPU supports it unless told to leave emulation out."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)

    assert expected == device.precision(torch.device("cuda"), "auto")


def test_running_out_of_memory_is_one_line_that_says_what_to_lower():
    """A real allocation that no machine can make: 4 PiB."""
    with pytest.raises(DeviceError) as caught, device.within_memory("lower train.batch_size"):
        torch.empty(1 << 50)

    assert str(caught.value).startswith("memory: ")
    assert str(caught.value).endswith(" To need less, lower train.batch_size.")
    assert "can't allocate memory: you tried to allocate 4503599627370496 bytes" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_errors_of_torch_are_not_taken_for_a_lack_of_memory():
    with pytest.raises(RuntimeError, match="must match the size"), device.within_memory("lower train.batch_size"):
        torch.ones(2) + torch.ones(3)


def test_the_fingerprint_names_what_the_bytes_depend_on(monkeypatch):
    monkeypatch.setenv(device.VARIABLE, "cpu")

    assert {"device", "torch", "threads", "cpu_capability", "caches"} == set(device.fingerprint())


def test_a_gpu_is_named_with_the_cuda_that_torch_was_built_for(monkeypatch):
    """torch is asked about the device in question; stand-ins replace it here, so no GPU is needed."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda asked: f"NVIDIA H100, {asked}")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    expected = {
        "device": "cuda",
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "gpu/name": "NVIDIA H100, cuda",
        "cuda": "12.8",
    }

    assert expected == device.description(torch.device("cuda"))


def test_a_cpu_has_no_gpu_name():
    facts = device.description(torch.device("cpu"))

    assert torch.backends.cpu.get_cpu_capability() == facts["cpu_capability"]
    assert {"gpu/name", "cuda"}.isdisjoint(facts)


def test_the_peak_memory_of_a_gpu_is_in_mebibytes_and_a_cpu_has_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", {torch.device("cuda"): 3 << 19}.__getitem__)

    assert {"gpu/peak_memory_mb": 1.5} == device.peak_memory(torch.device("cuda"))
    assert {} == device.peak_memory(torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or not platform.libc_ver()[0], reason="only glibc's allocator has these settings"
)
def test_freed_memory_is_not_requested_from_the_system_again():
    """Page faults of a block, allocated and freed, before and after; in another process, because the setting stays."""
    script = """
import ctypes, resource
from segline.model import device

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = ctypes.c_void_p(library.malloc(1 << 26))
    ctypes.memset(block, 1, 1 << 26)
    library.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before = faults()
device.keep_memory()
faults()
print(before, faults())
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    before, after = map(int, done.stdout.split())

    assert before > 10 * after
