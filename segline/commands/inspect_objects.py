"""Object numbers in a folder of images and masks: a mask file for each object, files beside the masks, or the masks."""

from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath

from segline.commands import inspect_layouts
from segline.commands.inspect_layouts import IMAGES, MASKS, Layout
from segline.commands.inspect_masks import Labels
from segline.core.errors import PipelineError
from segline.sources.collecting import object_files, splitting

OBJECTS = ("objects", "object", "instances", "instance", "instance_masks", "object_masks", "numbers")
_MANY = 20  # values, over all masks, above which those without gaps are numbers rather than classes
_MOST = 0.9  # share of the masks


def one_file_each(root: Path) -> Layout | None:
    """The layout of the Data Science Bowl of 2018: a folder for each image; None if `root` has another."""
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for images, masks in ((images, masks) for images in IMAGES for masks in MASKS):
        there = [path for path in folders if (path / images).is_dir() and (path / masks).is_dir()]
        if 2 * len(there) > len(folders):
            form = splitting.ByRatio(by="ratio", shares=inspect_layouts.shares(len(there)), seed=1)
            return Layout(f"*/{images}/*.*", f"*/{masks}/*.*", form, object_files.EACH)
    return None


def beside(root: Path, layout: Layout) -> Layout:
    """The layout with the folder of object numbers beside that of the masks, if each image has a file in it."""
    parts = PurePosixPath(layout.masks).parts
    for place, part in enumerate(parts[:-1]):
        if part.lower() not in MASKS:
            continue
        for name in OBJECTS:
            pattern = str(PurePosixPath(*parts[:place], name, *parts[place + 1 :]))
            problems: list[PipelineError] = []
            splitting.usable(root, layout.images, pattern, layout.form, "", problems=problems)
            if not problems:
                return replace(layout, objects=pattern)
    return layout


def in_masks(layout: Layout, labels: Labels) -> Layout:
    """The layout whose masks are object numbers, if their values look like these: many, and none left out."""
    is_numbered = labels.encoding == "index" and len(labels.pixels) > _MANY and not labels.common and not labels.palette
    if layout.objects is None and is_numbered and labels.gapless >= _MOST * labels.kinds.total():
        return replace(layout, objects=layout.masks)
    return layout


def as_binary(layout: Layout, labels: Labels) -> None:
    """Makes two classes of the values of masks that are objects: 0, or what is not above the threshold, and others."""
    if layout.objects not in (layout.masks, object_files.EACH):
        return
    threshold = labels.threshold or 0
    for counts in (labels.pixels, labels.masks):
        above = sum(count for value, count in counts.items() if value > threshold)
        below = sum(counts.values()) - above
        counts.clear()
        counts.update(Counter({0: below, threshold + 1: above}))
    labels.threshold, labels.common, labels.void = threshold, [0, threshold + 1], None
