"""Image files in formats that are not supported: they are ignored, and the user is told."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

SUFFIXES = frozenset(
    (
        *(".jp2", ".jpe", ".jfif", ".heic", ".heif", ".avif", ".jxl"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".exr", ".dng", ".nef", ".cr2", ".arw", ".svg", ".psd"),
        *(".dcm", ".nii", ".mha", ".nrrd", ".czi", ".lif", ".nd2", ".svs", ".ndpi", ".mrxs", ".vrt", ".ecw"),
    )
)


def left_out(folders: Iterable[Path]) -> list[str]:
    """One line per folder that contains any, at any depth: how many of which suffix. Hidden files are ignored."""
    counted = {folder: Counter(_suffixes(folder)) for folder in folders}
    return [_line(folder, suffixes) for folder, suffixes in counted.items() if suffixes]


def _suffixes(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and not is_hidden:
            yield path.suffix.lower()


def _line(folder: Path, suffixes: Counter[str]) -> str:
    shown = ", ".join(f"{count} x {suffix}" for suffix, count in sorted(suffixes.items()))
    return f"{folder}: image files in unsupported formats are ignored: {shown}. Convert them to PNG."
