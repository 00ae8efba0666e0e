"""Objects in ever larger images: CPU time and memory of the watershed, which should grow with the pixels.

    python -m benchmarks.watershed [SIDE]

Discs that touch, about one on 40 x 40 pixels, in images of a quarter, a half and the whole of SIDE, 4096 by default.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segline.core import errors
from segline.model import watershed
from segline.model.watershed import ONE, Section, Uint8, Uint16
from segline.monitoring import console

APART, LEAST, MOST = 40, 14, 22  # pixels: from centre to centre, and radii
CLASS = 1


def discs(side: int) -> tuple[Uint8, Uint16]:
    """Classes and probabilities of "inside", (side, side) each: the middle of a disc is the surest."""
    draws = np.random.default_rng(0)
    labels, inside = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint16)
    for y in range(APART // 2, side, APART):
        for x in range(APART // 2, side, APART):
            radius = int(draws.integers(LEAST, MOST + 1))
            rows, columns = (np.arange(max(0, at - radius), min(side, at + radius + 1)) for at in (y, x))
            squares = ((rows - y)[:, None] ** 2 + (columns - x) ** 2) / radius**2
            part = np.ix_(rows, columns)
            labels[part] = np.where(squares <= 1, CLASS, labels[part])
            inside[part] = np.maximum(inside[part], ((1 - squares).clip(0) * ONE).astype(np.uint16))
    return labels, inside


def peak() -> int:
    """KiB that this process has held at most: VmHWM, since ru_maxrss starts at what the parent held."""
    return int(Path("/proc/self/status").read_text(encoding="ascii").split("VmHWM:")[1].split()[0])


def measure(side: int) -> None:
    """Prints side, objects, CPU seconds, and MiB added, of a process of its own."""
    labels, inside = discs(side)
    rule = Section(smallest=16, seed=0.5)
    watershed.find(labels[:64, :64], inside[None, :64, :64], [CLASS], rule, Path("small"))  # imports what it needs
    before, start = peak(), time.process_time()
    found = watershed.find(labels, inside[None], [CLASS], rule, Path("drawn"))
    seconds = time.process_time() - start
    row = f"| {side} x {side} | {len(found.scores):,} | {seconds:.2f} | {(peak() - before) / 1024:.0f} |"
    console.say(f"{row} {1e6 * seconds / side**2:.2f} |")


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a table."""
    words = sys.argv[1:] if argv is None else [*argv]
    if words[:1] == ["--one"]:
        measure(int(words[1]))
        return
    side = int(words[0]) if words else 4096
    if side < 64 * 4:
        raise errors.ParameterError("SIDE", f"expected at least {64 * 4}, got {side}", "Give more pixels.")
    console.say("| image | objects | CPU s | MiB added | CPU us a pixel |\n|---|---|---|---|---|")
    for part in (side // 4, side // 2, side):
        subprocess.run([sys.executable, "-m", "benchmarks.watershed", "--one", str(part)], check=True)


if __name__ == "__main__":
    console.run(main)
