"""Predictions written as annotations, to be opened by the tools' own libraries: a folder for each form and request.

A folder has the images and the annotations as the tool wants them, and `names.json`, the classes. The tool's `open.py`
writes `<stem>.npy`, int16 (H, W): the place of the class in `names.json` from 1 on, 0 without a shape, -1 for ignored.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from segline.inference.annotations import Request
from tests.inference.test_annotation_files import NAMES, VOID, collected, ring, smooth, speckled, with_void, written

FORMS = {"cvat": ("cvat", "coco"), "labelme": ("labelme",)}  # of each tool


def requests(tool: str) -> Iterator[tuple[str, Request]]:
    """The name of a folder, and what is written into it."""
    for form in FORMS.get(tool, ()):
        for tolerance in (0, 1):
            for unlabelled in (0, None):
                yield f"{form}-{tolerance}-{unlabelled}", Request(form, tolerance, 0, unlabelled)


def masks(request: Request) -> dict[str, np.ndarray]:
    """The predictions, by stem."""
    made = {f"smooth{seed}": smooth(seed) for seed in range(3)}
    made |= {f"speckled{seed}": speckled(seed) for seed in range(3)} | {
        "ring": ring(),
        "nothing": np.zeros((5, 6), "u1"),
    }
    # Without an unlabelled class, CVAT gets regions around pixels without data as masks, which datumaro does not read.
    return made if request.form == "cvat" and request.unlabelled is None else made | {"void": with_void()}


def write(folder: Path, request: Request) -> None:
    """The annotations of all predictions."""
    written(folder, masks(request), request)
    (folder / "names.json").write_text(json.dumps(NAMES), encoding="utf-8")
    if request.form == "coco":  # where datumaro looks for it
        (folder / "annotations").mkdir()
        (folder / "annotations/instances_default.json").write_bytes((folder / "annotations.json").read_bytes())


def misread(folder: Path, request: Request) -> list[str]:
    """The stems of which the tool made another mask than our source does; at tolerance 0, than was predicted."""
    background = VOID if request.unlabelled is None else request.unlabelled
    ours = collected(folder, request.form, "void" if request.unlabelled is None else NAMES[request.unlabelled])
    found = []
    for stem, mask in masks(request).items():
        theirs = np.load(folder / f"{stem}.npy")
        theirs = np.select([theirs > 0, theirs == 0], [theirs - 1, background], VOID)
        has_data = mask != VOID
        if not np.array_equal(theirs, ours[stem]):
            found.append(f"{stem} (not as our source reads it)")
        elif not request.tolerance and not np.array_equal(theirs[has_data], mask[has_data]):
            found.append(f"{stem} (not as it was predicted)")
    return found
