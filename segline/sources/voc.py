"""PASCAL VOC's own layout, as unpacked: JPEGImages, SegmentationClass, ImageSets/Segmentation.

Source: Everingham et al. 2010; the colours are those of `VOClabelcolormap` in the VOC development kit.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from segline.core import params
from segline.core.errors import ParameterError
from segline.dataset.raw import Dataset, Label, Void
from segline.sources.collecting import copying, splitting
from segline.sources.collecting.labels import colour
from segline.sources.collecting.listing import Entry

IMAGES, MASKS, LISTS = "JPEGImages/*.jpg", "SegmentationClass/*.png", "ImageSets/Segmentation/{split}.txt"
NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class Section(params.Section):
    """data.voc: which lists to use."""

    splits: Annotated[list[Literal["train", "val", "test"]], Field(min_length=1), AfterValidator(splitting.unique)]


def splits(section: Section) -> list[str]:
    """The names of the splits that `collect` returns."""
    return list(section.splits)


def describe(section: Section, source_input: Path) -> Dataset:  # noqa: ARG001 - all sources share this signature
    """The data set without its pairs."""
    classes = tuple(Label(name, colour(value)) for value, name in enumerate(NAMES))
    return Dataset("pascal-voc", classes, tuple(range(len(NAMES))), Void(255, colour(255)), "index", splits={})


def require_input(section: Section, source_input: Path) -> None:
    """Raises what `collect` would. Reads no pixels."""
    _entries(section, source_input)


def _entries(section: Section, source_input: Path) -> dict[str, list[Entry]]:
    by_lists = splitting.ByLists(by="lists", file=LISTS, names=list(section.splits))
    folders = [Path(text).parent for text in (IMAGES, MASKS, LISTS)]
    absent = [folder for folder in folders if not (source_input / folder).is_dir()]
    if absent:
        problem = f"no such folder: {source_input / absent[0] if source_input.is_dir() else source_input}"
        remedy = "Unpack VOC there, or name the folder that contains JPEGImages (VOCdevkit/VOC2012)."
        raise ParameterError(f"{params.FILE}: data.input", problem, remedy)
    return splitting.entries(source_input, IMAGES, MASKS, by_lists, group="")


def collect(section: Section, source_input: Path, folder: Path) -> Dataset:
    """The listed pairs below `source_input`, their files copied to `folder/<split>/images` and `folder/<split>/masks`.

    Raises ParameterError, and DataError for all problems of lists and files at once.
    """
    return replace(describe(section, source_input), splits=copying.copy(_entries(section, source_input), folder))
