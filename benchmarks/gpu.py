"""Images/s and TFLOP/s of training on a GPU in bfloat16, as a share of a matrix product's speed in the same run.

    python -m benchmarks.gpu      # or: make bench-gpu

The network of `loops` at 128x128 and that of the CamVid preset at 480x360, in the project's own training loop. Each
with deterministic algorithms on (as in the pipeline) and off; eager, at the best of several batch sizes, and compiled.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks import loops
from benchmarks.ceiling import PASSES
from benchmarks.turns import timed
from segline.core import params, plugins
from segline.core.errors import DeviceError
from segline.model import forward, randomness
from segline.monitoring import console

CAMVID = Path(__file__).parents[1] / "presets/camvid.yaml"
STEPS, ROUNDS, SIDE = 8, 3, 8192


@dataclass(frozen=True)
class Case:
    """A network, given by its module and section, and the images that it is trained on."""

    title: str
    network: str
    section: params.Section
    height: int
    width: int
    batches: tuple[int, ...]

    def build(self) -> nn.Module:
        """The network, on the CPU."""
        built: nn.Module = plugins.choose("segline.networks", self.network, "model.name").build(
            self.section, 3, loops.NUM_CLASSES
        )
        return built


@dataclass(frozen=True)
class Rate:
    """The result of one way to train."""

    images_a_second: float
    batch: int


def cases() -> list[Case]:
    """What `make bench-gpu` measures."""
    document = params.load(CAMVID)
    name = params.text(document, "model.name")
    section = params.section(document, f"model.{name}", plugins.choose("segline.networks", name, "model.name").Section)
    seed = Case("S1", "unet", loops.NETWORK, loops.SIZE, loops.SIZE, (32, 64, 128, 256))
    return [seed, Case(CAMVID.stem, name, section, 360, 480, (8, 16, 32, 64))]


def synchronise(target: torch.device) -> None:
    """Waits until the device has finished all its work."""
    if target.type == "cuda":
        torch.cuda.synchronize()


def peak(target: torch.device, side: int = SIDE) -> float:
    """Operations a second of the product of two square matrices in bfloat16."""
    left, right = (torch.randn(side, side, device=target, dtype=torch.bfloat16) for _ in range(2))

    def product() -> None:
        torch.mm(left, right)
        synchronise(target)

    times = [timed(product) for _ in range(10)]
    return 2 * side**3 / min(times[1:])


@contextmanager
def switches(deterministic: bool) -> Iterator[None]:
    """Torch's deterministic algorithms on, as in the pipeline, or off, with cuDNN free to choose. Finally on again."""
    randomness.deterministic(1)
    if not deterministic:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.deterministic = False
    try:
        yield
    finally:
        randomness.deterministic(1)


def rate(case: Case, target: torch.device, batch: int, compiler: str | None) -> Rate:
    """The rate of the project's training loop after warming up; compiled if a compiler is given."""
    network = case.build()
    if compiler:
        network.compile(backend=compiler, dynamic=False)
    data = loops.samples(target, STEPS * batch, case.height, case.width)
    step: Callable[[], None] = loops.project(network, data, "bfloat16", batch)

    def epoch() -> None:
        step()
        synchronise(target)

    times = [timed(epoch) for _ in range(1 + ROUNDS)]
    return Rate(len(data) / statistics.median(times[1:]), batch)


def best(case: Case, target: torch.device) -> Rate:
    """The best eager rate over the case's batch sizes, up to the first that does not fit into memory."""
    rates: list[Rate] = []
    for batch in case.batches:
        try:
            rates.append(rate(case, target, batch, None))
        except torch.cuda.OutOfMemoryError:
            break
    if not rates:
        raise DeviceError("memory", f"a batch of {case.batches[0]} of {case.title} does not fit", "Use a larger GPU.")
    return max(rates, key=lambda each: each.images_a_second)


def report(measured: Sequence[Case], target: torch.device, highest: float, compiler: str = "inductor") -> None:
    """Prints a row for each case, determinism on and off, eager and compiled. Shares are of the peak `highest`."""
    console.say("| network | size | switches | way | batch | images/s | TFLOP/s | share of the peak |")
    console.say("|---|---|---|---|---|---|---|---|")
    for case in measured:
        operations = PASSES * forward.cost(case.build().to(target), 3, case.height, case.width)["multiply_adds"]
        for deterministic in (True, False):
            with switches(deterministic):
                eager = best(case, target)
                ways = {"eager": eager, "compiled": rate(case, target, eager.batch, compiler)}
            for way, result in ways.items():
                achieved = result.images_a_second * operations
                cells = f"{case.width}x{case.height} | {'on' if deterministic else 'off'} | {way} | {result.batch}"
                speed = f"{result.images_a_second:.0f} | {achieved / 1e12:.1f} | {achieved / highest:.1%}"
                console.say(f"| {case.title} | {cells} | {speed} |")


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the GPU, the peak and the table. Raises DeviceError without a CUDA device."""
    console.parser(__doc__).parse_args(argv)
    if not torch.cuda.is_available():
        problem = f"torch {torch.__version__} sees no CUDA device, which this benchmark needs"
        raise DeviceError("benchmarks.gpu", problem, "Run it on a machine with a GPU and a CUDA build of torch.")
    target = torch.device("cuda")
    randomness.deterministic(1)  # before CUDA is first used, which is when cuBLAS reads its setting
    highest = peak(target)
    console.say(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, matrix product {highest / 1e12:.0f} TFLOP/s\n"
    )
    report(cases(), target, highest)


if __name__ == "__main__":
    console.run(main)
