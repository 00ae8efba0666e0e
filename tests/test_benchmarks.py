"""What the benchmarks of the training step compute, on sizes small enough for a test; no figure is judged here."""

import subprocess
import sys

import pytest
import torch

from benchmarks import ceiling, gpu, loops, shapes
from benchmarks.turns import Loop
from segline.core.errors import DeviceError
from segline.model import forward
from segline.networks import unet

TINY = gpu.Case("tiny", "unet", unet.Section(width=2, depth=2, norm="none", dropout=0.0), 12, 20, (1, 2))


def test_the_work_of_all_levels_is_that_of_the_network():
    network = unet.build(unet.Section(width=3, depth=4, norm="none", dropout=0.3), 3, 12)
    work = ceiling.multiply_adds(network, 3, 128)

    assert work.keys() == ceiling.LEVELS.keys()
    assert forward.cost(network, 3, 128, 128)["multiply_adds"] == work.total()


def test_a_ceiling_is_the_mean_of_its_levels_by_their_work():
    """Half of the operations at 1 a second and half at 3: two thirds of a second's worth of 2 in all."""
    work = ceiling.Counter(dict.fromkeys(ceiling.LEVELS, 0) | {128: 500, 64: 500})

    assert 1.5 == pytest.approx(ceiling.images_a_second([1, 3, 1, 1, 1], work) * ceiling.PASSES * 1000)
    assert [6 * 2 * 64 * 64 * 9 * 128 * 128 / 0.5] == ceiling.rates([0.5] + [1.0] * 4, 2)[:1]


def test_the_plain_loop_and_ours_train_the_same_network(monkeypatch):
    """Of the same parameters; and each of their turns is a number of seconds."""
    monkeypatch.setattr(loops, "NETWORK", unet.Section(width=2, depth=1, norm="none", dropout=0.3))
    monkeypatch.setattr(loops, "SIZE", 8)

    assert all(loops.turn(name)() > 0 for name in ("plain", "float32"))


def test_loops_in_processes_of_their_own_answer_in_turn(tmp_path):
    script = tmp_path / "count.py"
    script.write_text("import itertools\nfrom benchmarks import turns\nturns.serve(itertools.count().__next__)\n")
    first, second = (Loop([sys.executable, str(script)]) for _ in range(2))

    assert [1, 1, 2] == [first.turn(), second.turn(), first.turn()]  # 0 warmed up
    first.close()
    second.close()


def test_a_loop_that_fails_is_an_error_with_its_status(tmp_path):
    script = tmp_path / "fails.py"
    script.write_text("raise SystemExit(3)\n")

    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        Loop([sys.executable, str(script)])


def test_the_gpu_benchmark_prints_a_row_for_each_way_to_train(capsys, monkeypatch):
    """On the CPU, tiny, and with torch.compile's own tracer but no code generation."""
    monkeypatch.setattr(gpu, "STEPS", 2)
    cpu = torch.device("cpu")
    gpu.report([TINY], cpu, gpu.peak(cpu, side=16), compiler="eager")
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in capsys.readouterr().out.splitlines()[2:]]

    assert [["on", "eager"], ["on", "compiled"], ["off", "eager"], ["off", "compiled"]] == [row[2:4] for row in rows]
    assert {("tiny", "20x12")} == {tuple(row[:2]) for row in rows}
    assert {"1", "2"} >= {row[4] for row in rows}
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark


def test_the_gpu_benchmark_measures_networks_that_exist():
    for case in gpu.cases():
        with torch.device("meta"):
            assert case.build()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_cuda_the_gpu_benchmark_says_so():
    with pytest.raises(DeviceError, match="sees no CUDA device"):
        gpu.main([])


def test_every_convolution_of_a_preset_is_compared_in_both_precisions():
    calls = list(shapes.calls("camvid-fast"))
    (_, right), (_, found) = (shapes.passes(calls[0], kind) for kind in (torch.float32, torch.bfloat16))

    assert "3x3/1 48 -> 32 at 32x32" == calls[0].title
    assert {"2x2/2 32 -> 64 at 32x32", "transposed 2x2/2 64 -> 32 at 16x16"} <= {call.title for call in calls}
    assert [tensor.shape for tensor in right] == [tensor.shape for tensor in found]
    for exact, rounded in zip(right, found, strict=True):
        assert 0 < (exact - rounded).abs().max() < shapes.FAR * exact.abs().max()
