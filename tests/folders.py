"""Folders like those of users: small real images and masks under any names."""

import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

SIZE = (12, 16)
SPLITS = {"train": ["t1", "t2"], "val": ["v1"], "test": ["x1"]}
Builder = Callable[[Path], object]


def image(path: Path, seed: int = 0, channels: int = 3) -> None:
    """A picture of noise, PNG or JPEG according to its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = SIZE if channels == 1 else (*SIZE, channels)
    name = [*path.name.encode()]
    cv2.imwrite(str(path), np.random.default_rng([seed, *name]).integers(0, 256, shape, np.uint8))


def values(wanted: Iterable[int]) -> np.ndarray:
    """Stripes of the wanted values."""
    stripes = [*wanted]
    return np.resize(np.array(stripes), SIZE[1])[None].repeat(SIZE[0], axis=0)


def mask(path: Path, wanted: Iterable[int], depth: int = 8) -> None:
    """An index mask, gray."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), values(wanted).astype(np.uint8 if depth == 8 else np.uint16))


def coloured(path: Path, wanted: Iterable[int]) -> None:
    """A mask of colours r << 16 | g << 8 | b."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codes = values(wanted)
    cv2.imwrite(str(path), np.stack([codes & 255, codes >> 8 & 255, codes >> 16], axis=-1).astype(np.uint8))


def palette(path: Path, wanted: Iterable[int], colours: Iterable[tuple[int, int, int]]) -> None:
    """An index mask whose values are palette indices."""
    mask(path, wanted)
    content = path.read_bytes()
    header = _chunk(b"IHDR", content[16:25] + b"\3" + content[26:29])
    table = _chunk(b"PLTE", bytes(sum(colours, ())))
    path.write_bytes(content[:8] + header + table + content[33:])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pairs(root: Path, images: str, masks: str, stems: Iterable[str], wanted: Iterable[int] = (0, 1, 2)) -> None:
    """An image and an index mask per stem, under names with {} for the stem."""
    for stem in stems:
        image(root / images.format(stem))
        mask(root / masks.format(stem), wanted)


def by_split(images_at: str, masks_at: str, splits: Mapping[str, Iterable[str]] = SPLITS) -> Builder:
    def build(root: Path) -> None:
        for split, stems in splits.items():
            at = [text.replace("{split}", split) for text in (images_at, masks_at)]
            pairs(root, *at, stems)

    return build


def all_in_one(images_at: str, masks_at: str, count: int = 12, wanted: tuple[int, ...] = (0, 1, 2)) -> Builder:
    return lambda root: pairs(root, images_at, masks_at, [f"i_{n}" for n in range(count)], wanted)


def colour_coded(root: Path) -> None:
    for number in range(5):
        image(root / f"images/{number}.jpeg")
        coloured(root / f"gt/{number}_color.png", [0x000000, 0x800000, 0x40E0D0, 0xE0E0C0])


def palettes(root: Path) -> None:
    for number in range(3):
        image(root / f"JPEGImages/{number}.jpg")
        palette(root / f"SegmentationClassPNG/{number}.png", [0, 1, 2], [(9, 9, 9), (200, 0, 0), (0, 0, 200)])


def palettes_that_differ(root: Path) -> None:
    """Colour-coded masks saved by a program that sorts each palette by how frequent the colours are."""
    black, red, green = (0, 0, 0), (200, 0, 0), (0, 200, 0)
    for number, colours in enumerate([(black, red, green), (black, green, red), (black, red), (black, green)]):
        image(root / f"images/{number}.jpg", seed=number)
        palette(root / f"masks/{number}.png", range(len(colours)), colours)


def smeared_binary(masks: str) -> Builder:
    """Binary masks whose edges are off by a few levels, under names with {} for the stem."""

    def build(root: Path) -> None:
        for number in range(5):
            path = root / masks.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            (root / "images").mkdir(exist_ok=True)
            picture = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
            cv2.imwrite(str(root / f"images/{number}.png"), picture)
            values = np.zeros((48, 64), np.uint8)
            values[8:40, 16:48] = 255
            values[8, 16:48], values[7, 16:48] = np.arange(248, 256).repeat(4), np.arange(8).repeat(4)
            cv2.imwrite(str(path), values)

    return build


def deep(root: Path) -> None:
    for number in range(3):
        image(root / f"images/{number}.png", channels=1)
        mask(root / f"masks/{number}.png", [0, 300, 65535], depth=16)


def named(root: Path) -> None:
    all_in_one("images/{}.png", "masks/{}.png")(root)
    (root / "labels.txt").write_bytes(b'\xef\xbb\xbf_background_\r\nno\r\ntwo words\r\nnever "seen"\r\n')
