"""`segline inspect`: a folder of images and masks -> its `data` section for params.yaml, and its problems."""

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segline.commands import inspect_layouts, inspect_section, inspect_survey
from segline.commands.inspect_layouts import Layout
from segline.commands.inspect_section import MOST_CLASSES
from segline.commands.inspect_survey import Survey
from segline.core.errors import DataError, PipelineError
from segline.monitoring import console
from segline.sources.collecting import splitting, unsupported_formats
from segline.sources.collecting.listing import Entry

SHOWN = 20  # problems
KNOWN = (
    "Known layouts: images beside masks (or labels, annotations, gt), with or without train, val, test in or above "
    "them; train beside trainannot; a.png beside a_mask.png; PASCAL VOC. PNG and JPEG only."
)


@dataclass(frozen=True)
class Inspection:
    """`section` is YAML to paste into params.yaml, with comments; `problems` are what the pipeline would refuse.

    The section is None if no image or no mask can be used.
    """

    section: str | None
    problems: list[str]


def inspect(root: Path) -> Inspection:
    """The inspection of `root`. Raises DataError if it is not a folder or its layout is unknown."""
    if not root.is_dir():
        raise DataError(root, "no such folder", "Name the folder that holds your images and masks.")
    layout = inspect_layouts.recognise(root)
    if layout is None:
        raise DataError(root, f"no images with masks found; it contains {_contents(root)}", KNOWN)
    problems: list[PipelineError] = []
    listed = splitting.usable(root, layout.images, layout.masks, layout.form, "", problems=problems)
    problems += [*inspect_layouts.one_sided(root, layout), *inspect_layouts.unused(root, layout)]
    survey = inspect_survey.survey_pairs(listed)
    problems += survey.problems
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    shown = [*map(str, problems[:SHOWN]), *more, *unsupported_formats.left_out([root])]
    if not survey.image_kinds or not survey.masks:
        return Inspection(None, shown)
    names = inspect_section.class_names(root) if survey.encoding == "index" else []
    is_voc = not names and inspect_section.is_voc(layout, survey)
    if is_voc:
        lines = inspect_section.voc_section(root, layout)
    else:
        lines = inspect_section.folder_section(root, layout, survey, names)
    facts = [f"# {line}" for line in _facts(layout, listed, survey, is_voc)]
    return Inspection("\n".join([*lines, *facts]), [*shown, *_doubts(layout, survey)])


def _contents(root: Path) -> str:
    kinds = Counter(path.suffix.lower() or "no extension" for path in root.rglob("*") if path.is_file())
    return ", ".join(f"{count} files of {kind}" for kind, count in kinds.most_common(4)) or "no file"


def _facts(layout: Layout, listed: Mapping[str, Sequence[Entry]], survey: Survey, is_voc: bool) -> Iterator[str]:
    """What the survey found, and what the user may want to change."""
    yield f"Pairs: {', '.join(f'{split} {len(entries)}' for split, entries in listed.items())}."
    sizes = [f"{width}x{height}" for (height, width), _ in survey.sizes.most_common(3)]
    more = f" and {len(survey.sizes) - 3} more sizes" if len(survey.sizes) > 3 else ""
    yield f"Images: {_counted(survey.image_kinds)}; {', '.join(sizes)}{more}."
    yield f"Masks: {_counted(survey.mask_kinds)}."
    if is_voc:
        yield f"Labels: {', '.join(f'{value} in {survey.masks[value]} masks' for value in sorted(survey.masks))}."
        yield "source voc names the 21 classes of PASCAL VOC: a guess. For others add a labels.txt, and inspect again."
    values = set(survey.pixels)
    if survey.encoding == "index" and values == {0, 255}:
        yield "Binary masks: 0 and 255 are taken as two classes."
    elif min(values, default=1) == 0 and not is_voc:
        which = "Value 0" if survey.encoding == "index" else "The colour [0, 0, 0]"
        yield f'{which} is taken as a class, a guess: if it means "not labelled", make it void instead.'
    if isinstance(layout.form, splitting.ByRatio):
        yield 'Frames of one video must stay in one split: if there are any, set group, such as "(.+)_[0-9]+".'
    if survey.image_kinds and all(" gray " in kind for kind in survey.image_kinds):
        yield "All images are gray: set preprocess.channels to 1."
    if "test" not in listed and "val" in listed:
        yield "There is no split test: set evaluate.split to val."


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common()) or "none"


def _doubts(layout: Layout, survey: Survey) -> Iterator[str]:
    splits = splitting.names(layout.form)
    if absent := [split for split in ("train", "val") if split not in splits]:
        yield f"no split {' and no split '.join(absent)}, only {', '.join(splits)}: rename a folder or list, or add one"
    if len(survey.pixels) > MOST_CLASSES:
        count, path = survey.fullest
        smooth = "smoothed or compressed colours? Export the masks again without"
        yield f"more labels than the {MOST_CLASSES} classes allowed, {count} in {path} alone: {smooth}"
    if len(survey.pixels) < 2:
        yield f"{len(survey.pixels)} label in all masks, expected at least two"


def command(args: Namespace) -> None:
    """`segline inspect FOLDER`: prints the data section and warns of problems."""
    inspection = inspect(args.folder)
    if inspection.section:
        console.say(inspection.section)
    for problem in inspection.problems:
        console.warn(problem)
    if not inspection.section:
        raise DataError(
            args.folder, "no image or no mask that can be used", "Fix the problems above, then inspect again."
        )
