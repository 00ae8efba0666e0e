"""Cityscapes' own layout, as unpacked: leftImg8bit and gtFine, with a folder for each split and city.

Source: Cordts et al. 2016; names, colours and ids of the 19 training classes are those of `labels.py` in the authors'
cityscapesScripts. All other labels are void, as in the benchmark. The labels of the published test split are withheld.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from segline.core import params
from segline.core.errors import DataError, ParameterError, PipelineError, combined
from segline.dataset.raw import Dataset, Label, Void
from segline.monitoring import console
from segline.preprocessing.image_files import masks, reading
from segline.sources.collecting import drawn, listing, splitting
from segline.sources.collecting.listing import Entry

IMAGES, MASKS = "leftImg8bit/{split}/*/*_leftImg8bit.png", "gtFine/{split}/*/*_gtFine_labelIds.png"
OBJECTS = "_gtFine_instanceIds.png"
CITY = "([^/]+)/.+"  # of a stem such as aachen/aachen_000000_000019
CLASSES = {  # id -> name and colour
    7: Label("road", (128, 64, 128)),
    8: Label("sidewalk", (244, 35, 232)),
    11: Label("building", (70, 70, 70)),
    12: Label("wall", (102, 102, 156)),
    13: Label("fence", (190, 153, 153)),
    17: Label("pole", (153, 153, 153)),
    19: Label("traffic light", (250, 170, 30)),
    20: Label("traffic sign", (220, 220, 0)),
    21: Label("vegetation", (107, 142, 35)),
    22: Label("terrain", (152, 251, 152)),
    23: Label("sky", (70, 130, 180)),
    24: Label("person", (220, 20, 60)),
    25: Label("rider", (255, 0, 0)),
    26: Label("car", (0, 0, 142)),
    27: Label("truck", (0, 0, 70)),
    28: Label("bus", (0, 60, 100)),
    31: Label("train", (0, 80, 100)),
    32: Label("motorcycle", (0, 0, 230)),
    33: Label("bicycle", (119, 11, 32)),
}
WITH_OBJECTS = tuple(CLASSES[key].name for key in (24, 25, 26, 27, 28, 31, 32, 33))
VOID = 255
IDS = 34  # 0 to 33; a licence plate, -1, is drawn as what carries it
PER_ID = 1000  # an instance id is that of its label times this, plus a number; below, it is that of a label

Mask = npt.NDArray[np.unsignedinteger[Any]]


class Section(params.Section):
    """data.cityscapes: which splits to use."""

    splits: Annotated[list[Literal["train", "val", "test"]], Field(min_length=1), AfterValidator(splitting.unique)]


@dataclass(frozen=True)
class Drawn:
    """A mask uint8 (H, W) of class numbers and 255, and object numbers uint16 (H, W), 0 = none; None if unknown."""

    mask: npt.NDArray[np.uint8]
    objects: npt.NDArray[np.uint16] | None


def splits(section: Section) -> list[str]:
    """The names of the splits that `collect` returns."""
    return list(section.splits)


def describe(section: Section, source_input: Path) -> Dataset:  # noqa: ARG001 - all sources share this signature
    """The data set without its pairs."""
    return Dataset(
        "cityscapes", tuple(CLASSES.values()), tuple(range(len(CLASSES))), Void(VOID, (0, 0, 0)), "index", splits={}
    )


def require_input(section: Section, source_input: Path) -> None:
    """Raises what `collect` would of names. Reads no pixels."""
    _entries(section, source_input)


def _entries(section: Section, source_input: Path) -> dict[str, list[Entry]]:
    form = splitting.ByFolder(by="folder", names=list(section.splits))
    absent = [name for name in ("leftImg8bit", "gtFine") if not (source_input / name).is_dir()]
    if absent:
        problem = f"no such folder: {source_input / absent[0] if source_input.is_dir() else source_input}"
        remedy = "Unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip there, or name the folder above them."
        raise ParameterError(f"{params.FILE}: data.input", problem, remedy)
    problems: list[PipelineError] = []
    listed = splitting.usable(source_input, IMAGES, MASKS, form, CITY, problems=problems)
    problems += [
        DataError(path, outside, "Put the files themselves below data.input.")
        for path in (numbers(entry) for entries in listed.values() for entry in entries)
        if path.is_symlink() and (outside := listing.leads_out(source_input, path))
    ]
    if problems:
        raise combined(source_input, problems)
    return listed


def numbers(entry: Entry) -> Path:
    """Where the instance ids of an image are, if they are there."""
    return entry.mask.with_name(entry.mask.name.replace("_gtFine_labelIds.png", OBJECTS))


def collect(section: Section, source_input: Path, folder: Path) -> Dataset:
    """The data set, with the city as group; its files are `folder/<split>/images/<city>/*.png` as published, `masks` of
    class numbers and 255 for void, and `objects` where there are instance ids: those of the classes, from 1.

    Raises ParameterError, and DataError for all problems of names at once, or for the first file that is damaged.
    """
    listed = _entries(section, source_input)
    labelled: Counter[str] = Counter()
    split_of = {entry.mask: split for split, entries in listed.items() for entry in entries}

    def draw(entry: Entry) -> Drawn:
        mask = decode(entry)
        labelled[split_of[entry.mask]] += int(np.count_nonzero(mask.mask != VOID))
        return mask

    pairs = drawn.write(listed, draw, folder)
    for line in _notes(listed, labelled):
        console.warn(line)
    return replace(describe(section, source_input), splits=pairs)


def _notes(listed: Mapping[str, Sequence[Entry]], labelled: Mapping[str, int]) -> list[str]:
    everything = [entry for entries in listed.values() for entry in entries]
    without = sum(not numbers(entry).exists() for entry in everything)
    lines = [
        f"split {split} has no labelled pixel: Cityscapes keeps those of test"
        for split in listed
        if not labelled[split]
    ]
    if without:
        lines.append(f"{without} of {len(everything)} images have no {OBJECTS[1:]}: their objects have no numbers")
    return lines


def decode(entry: Entry) -> Drawn:
    """The mask of an entry, and its objects where there are instance ids. Raises DataError."""
    ids = masks.decode(reading.read(entry.mask), entry.mask, "index")
    if (highest := int(ids.max())) >= IDS:
        problem = f"the value {highest}, expected label ids from 0 to {IDS - 1}"
        raise DataError(entry.mask, problem, "Take the files *_labelIds.png, not *_color.png or *_labelTrainIds.png.")
    table = np.full(IDS, VOID, np.uint8)
    table[list(CLASSES)] = range(len(CLASSES))
    mask = table[ids]
    path = numbers(entry)
    return Drawn(mask, _numbers(path, ids, mask) if path.exists() else None)


def _numbers(path: Path, ids: Mask, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    instances = masks.decode(reading.read(path), path, "index").astype(np.uint16)
    if instances.shape != ids.shape:
        problem = (
            f"{instances.shape[1]}x{instances.shape[0]} pixels, expected {ids.shape[1]}x{ids.shape[0]} as labelIds has"
        )
        raise DataError(path, problem, "Unpack gtFine again.")
    is_object = instances >= PER_ID
    other = np.where(is_object, instances // PER_ID, instances) != ids
    if other.any():
        y, x = (int(place) for place in np.argwhere(other)[0])
        problem = f"instance id {instances[y, x]} at (x, y) = ({x}, {y}), where labelIds has {ids[y, x]}"
        raise DataError(path, problem, "Unpack gtFine again.")
    is_object &= mask != VOID
    _, numbers = np.unique(instances[is_object], return_inverse=True)
    objects = np.zeros(ids.shape, np.uint16)
    objects[is_object] = numbers + 1
    return objects
