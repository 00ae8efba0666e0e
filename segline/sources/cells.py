"""Drawn cells under a fluorescence microscope: 12 of 16 bits, uneven light, and the number of each cell.

Cells of several sizes lie in clusters, in which they touch and overlap; where two overlap, the light of both is seen.
Most values lie in a small part of the range; a few specks of dirt are as bright as the camera can tell. Scores on these
images say nothing about real cells. Bytes must not depend on the CPU: all arithmetic is in integers, but for a square
root, which is exact everywhere.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from segline.core import params
from segline.core.errors import ParameterError
from segline.dataset.raw import Dataset, Label, Pair
from segline.monitoring import console

Numbers = npt.NDArray[np.int64]
Grey = npt.NDArray[np.uint16]
Pixels = npt.NDArray[np.uint8] | Grey

SPLITS = ("train", "val", "test")  # a split's position seeds its images
CLASSES = (Label("background", (20, 24, 40)), Label("cell", (110, 220, 120)))
VALUES = (0, 255)  # of the masks: black and white in every viewer
BRIGHTEST = 4095
DARK = 96  # what the camera reports without light
HAZE = 110  # of the medium
AREA = 300  # pixels of image for each cell that is tried
SIZES = ((6, 8), (9, 14), (9, 14), (15, 20))  # radii in pixels, smallest and largest
# Sixteenths of a turn: cosine and sine in thousandths.
COSINES = (1000, 924, 707, 383, 0, -383, -707, -924, -1000, -924, -707, -383, 0, 383, 707, 924)
SINES = COSINES[-4:] + COSINES[:-4]
# A cell is thickest in its middle: share of its size in percent -> eighths of its brightness.
LAYERS = ((100, 4), (88, 6), (74, 7), (55, 8))


@dataclass(frozen=True)
class Outline:
    """The centre and the radius along the longer axis in pixels; the other axis in percent of it; turn in 16ths."""

    x: int
    y: int
    radius: int
    flatness: int
    turn: int


class Section(params.Section):
    """Size in pixels, and number of images per split."""

    seed: int = Field(ge=0, lt=2**32)
    height: int = Field(ge=64, le=4096)
    width: int = Field(ge=64, le=4096)
    train: int = Field(ge=1, le=100_000)
    val: int = Field(ge=1, le=100_000)
    test: int = Field(ge=1, le=100_000)


def splits(section: Section) -> list[str]:  # noqa: ARG001 - all sources share this signature
    """The names of the splits that `collect` returns."""
    return list(SPLITS)


def describe(section: Section, source_input: Path) -> Dataset:  # noqa: ARG001 - all sources share this signature
    """The data set without its pairs."""
    return Dataset("drawn-cells", CLASSES, VALUES, None, "index", {})


def require_input(section: Section, source_input: Path) -> None:  # noqa: ARG001 - as above
    """Raises ParameterError unless DVC tracks the code that draws: otherwise stale images would go unnoticed."""
    if source_input.resolve() != Path(__file__).resolve():
        problem = f"expected segline/sources/cells.py, the code that draws the cells, got {source_input}"
        raise ParameterError("params.yaml: data.input", problem, "Write segline/sources/cells.py.")


def collect(section: Section, source_input: Path, folder: Path) -> Dataset:
    """The data set; its files are `folder/<split>/images/*.tif` (gray, 0..4095 in 16 bits), `masks/*.png` (0, 255) and
    `objects/*.png` (16 bits: 0 where no cell is, else its number, from 1 without gaps).

    An image depends only on the seed, the size, its split and its position in it, and is a group of its own.
    `source_input` is for DVC to track. Raises ParameterError if it is not this file.
    """
    require_input(section, source_input)
    tasks = [(split, number) for split in SPLITS for number in range(getattr(section, split))]
    listed: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    for split, number in console.progress(tasks, len(tasks), "draw"):
        rng = np.random.default_rng([section.seed, SPLITS.index(split), number])
        image, cells = _view(rng, section.height, section.width)
        stem = f"{split}-{number:05d}"
        files: dict[str, Pixels] = {
            f"images/{stem}.tif": image,
            f"masks/{stem}.png": np.where(cells > 0, *reversed(VALUES)).astype(np.uint8),
            f"objects/{stem}.png": cells,
        }
        hashes = [_write(folder / split / name, pixels) for name, pixels in files.items()]
        image_name, mask_name, objects = files
        listed[split].append(Pair(stem, stem, image_name, mask_name, hashes[0], hashes[1], objects, hashes[2]))
    return replace(describe(section, source_input), splits=listed)


def _write(path: Path, pixels: Pixels) -> str:
    """SHA-256 of the file written at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(path.suffix, pixels)
    content = encoded.tobytes()
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _view(rng: np.random.Generator, height: int, width: int) -> tuple[Grey, Grey]:
    """What the camera sees, 0..4095, and the number of the cell on top at each pixel: both (height, width)."""
    light, cells = np.full((height, width), HAZE, np.int64), np.zeros((height, width), np.uint16)
    drawn: list[Outline] = []
    full, left = np.zeros(1, np.int64), np.zeros(1, np.int64)  # pixels of each cell by number: at first, and on top
    for _ in range(height * width // AREA):
        outline = _next_to(rng, drawn, (height, width))
        thickness, here = _cropped(_cell(rng, outline), outline, (height, width))
        region = thickness > 0
        covered = np.bincount(cells[here][region], minlength=len(full))
        if 4 * covered[1:].sum() >= covered.sum() or (4 * (left - covered) < 3 * full)[1:].any():
            continue  # each lies on others with a quarter of its pixels at most, and keeps three quarters of them
        full, left = np.append(full, covered.sum()), np.append(left - covered, covered.sum())
        drawn.append(outline)
        light[here] += thickness.astype(np.int64) * rng.integers(60, 200) // 8
        cells[here][region] = len(drawn)
    for _ in range(height * width // 16_000 + 1):
        speck = np.zeros((height, width), np.uint8)
        cv2.circle(speck, (int(rng.integers(0, width)), int(rng.integers(0, height))), int(rng.integers(1, 3)), 1, -1)
        light += speck * rng.integers(1500, 6000)
    light = _softened(_softened(light)) * _lamp(rng, height, width) // 1024
    grain = rng.integers(-20, 21, (3, height, width)).sum(axis=0)  # a standard deviation of about 20
    noisy = DARK + light + grain * np.sqrt(light + 20).astype(np.int64) // 20
    return np.clip(noisy, 0, BRIGHTEST).astype(np.uint16), cells


def _next_to(rng: np.random.Generator, drawn: Sequence[Outline], size: tuple[int, int]) -> Outline:
    """A new cell: every fourth somewhere, the others so near to one of those `drawn` that they touch or overlap."""
    low, high = SIZES[int(rng.integers(0, len(SIZES)))]
    radius, flatness, turn = (int(rng.integers(*bounds)) for bounds in ((low, high + 1), (70, 101), (0, 16)))
    x, y = int(rng.integers(0, size[1])), int(rng.integers(0, size[0]))
    if drawn and rng.integers(0, 4) > 0:
        near, way = drawn[int(rng.integers(0, len(drawn)))], int(rng.integers(0, 16))
        distance = (near.radius + radius) * int(rng.integers(70, 96)) // 100
        x = near.x + distance * COSINES[way] // 1000
        y = near.y + distance * SINES[way] // 1000
        x, y = min(max(x, 0), size[1] - 1), min(max(y, 0), size[0] - 1)
    return Outline(x, y, radius, flatness, turn)


def _cell(rng: np.random.Generator, outline: Outline) -> npt.NDArray[np.uint8]:
    """The thickness of a cell, 0 outside of it, up to 8 within: (2 r + 1, 2 r + 1), r beyond its radius."""
    radius, turn, beyond = outline.radius, outline.turn, _beyond(outline)
    bumps = rng.integers(80, 121, 16)
    wobble = (np.roll(bumps, 1) + 2 * bumps + np.roll(bumps, -1)) // 4  # percent
    thickness = np.zeros((2 * beyond + 1, 2 * beyond + 1), np.uint8)
    for share, value in LAYERS:
        reach = radius * share * wobble  # 10,000ths of a pixel
        along, across = reach * COSINES, reach * SINES * outline.flatness // 100
        x = (along * COSINES[turn] - across * SINES[turn]) // 1000
        y = (along * SINES[turn] + across * COSINES[turn]) // 1000
        edge = np.stack([x, y], axis=1) * 16 // 10_000_000 + beyond * 16  # 16ths of a pixel
        cv2.fillPoly(thickness, [edge.astype(np.int32)], value, shift=4)
    for _ in range(int(rng.integers(0, 4)) if radius > 8 else 0):  # darker spots within
        spot = [beyond + int(rng.integers(-radius // 3, radius // 3 + 1)) for _ in range(2)]
        cv2.circle(thickness, spot, max(1, radius // 6), 6, -1)
    return thickness


def _beyond(outline: Outline) -> int:
    return outline.radius * 6 // 5 + 2


def _cropped(
    thickness: npt.NDArray[np.uint8], outline: Outline, size: tuple[int, int]
) -> tuple[npt.NDArray[np.uint8], tuple[slice, slice]]:
    """What of a cell is in the image, and where."""
    starts = [place - _beyond(outline) for place in (outline.y, outline.x)]
    here = [slice(max(0, start), start + len(thickness)) for start in starts]
    inside = [slice(part.start - start, end - start) for part, start, end in zip(here, starts, size, strict=True)]
    return thickness[tuple(inside)], (here[0], here[1])


def _softened(light: Numbers) -> Numbers:
    """The mean over 3 x 3 pixels."""
    wide = np.pad(light, 1, mode="edge")
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    softened: Numbers = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) // 9
    return softened


def _lamp(rng: np.random.Generator, height: int, width: int) -> Numbers:
    """The light of the lamp in 1024ths: brightest somewhere, falling off with the square of the distance."""
    y, x = np.mgrid[:height, :width]
    top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
    distance = ((y - top) ** 2 + (x - left) ** 2) * 1024 // (height * height + width * width)
    bright = int(rng.integers(800, 1800))
    lamp: Numbers = bright - distance * (bright * int(rng.integers(60, 90)) // 100) // 1024
    return lamp
