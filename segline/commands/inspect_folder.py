"""`segline inspect`: a folder of images and masks -> `data` and `preprocess` for params.yaml, and its problems."""

import itertools
import shlex
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segline.commands import (
    inspect_exports,
    inspect_layouts,
    inspect_names,
    inspect_objects,
    inspect_preparation,
    inspect_section,
    inspect_survey,
    inspect_training,
)
from segline.commands.inspect_exports import Export
from segline.commands.inspect_layouts import FEW, Layout
from segline.commands.inspect_masks import MOST_CLASSES, Labels
from segline.commands.inspect_survey import Survey
from segline.core import params, plugins
from segline.core.errors import DataError, PipelineError, Problems, combined
from segline.monitoring import console
from segline.sources.collecting import object_files, splitting, unsupported_formats
from segline.sources.collecting.listing import Entry

SHOWN = 20  # problems
MANY, RARE = 64, 0.01  # labels, and the share of the pixels of a rare one: said to be doubtful classes
KNOWN = (
    "Known layouts: images beside masks (or labels, annotations, gt), with or without train, val, test in or above "
    "them; train beside trainannot; a.png beside a_mask.png; PASCAL VOC; Cityscapes; ADE20K; exports of CVAT, Label "
    "Studio and labelme; COCO instances; a folder for each image with a mask for each object. PNG, JPEG, TIFF, "
    "BMP, WebP and GIF."
)
GROUPS = (
    "Frames of one video must stay in one split: if there are any, set group to a regular expression for the part of "
    "the name that they share."
)
NO_TEST = "There is no split test: set evaluate.split to val."
PROPOSED = "# Proposed from the images, to replace the section of this name:"


@dataclass(frozen=True)
class Inspection:
    """`section` is YAML to paste into params.yaml, `data` and `preprocess`, with comments; `problems` are what the
    pipeline would refuse.

    The section is None if no image or no mask can be used.
    """

    section: str | None
    problems: list[str]


def inspect(root: Path) -> Inspection:
    """The inspection of `root`. Raises DataError if it is not a folder or its layout is unknown."""
    if not root.is_dir():
        if root.parts[:1] == ("s3:",):
            url = str(root).replace(":/", "://", 1)
            raise DataError(url, "inspect reads no object storage", "Copy some pairs to a folder, and inspect that.")
        raise DataError(root, "no such folder", "Name the folder that holds your images and masks.")
    if export := inspect_exports.recognise(root):
        return _of_export(root, export)
    layouts = inspect_layouts.recognise(root)
    if not layouts and (of_objects := inspect_objects.one_file_each(root)):
        layouts = [(of_objects, 0)]
    if not layouts:
        if links := list(inspect_layouts.links_out(root))[:SHOWN]:
            raise combined(root, links)
        if damaged := [*itertools.islice(inspect_exports.unreadable(root), SHOWN)]:
            raise combined(root, damaged)
        raise DataError(root, f"no images with masks found; it contains {_contents(root)}", KNOWN)
    layout = layouts[0][0]
    problems: list[PipelineError] = []
    is_each = layout.objects == object_files.EACH
    listed = splitting.usable(
        root, layout.images, layout.masks, layout.form, "", problems=problems, one_file_each=is_each
    )
    problems += [
        *inspect_layouts.one_sided(root, layout),
        *inspect_layouts.not_splits(root, layout),
        *inspect_layouts.unused(root, layout),
    ]
    problems += [link for link in inspect_layouts.links_out(root) if Path(link.where).is_dir()]
    survey = inspect_survey.survey_pairs(listed)
    problems += survey.problems
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    shown = [*map(str, problems[:SHOWN]), *more, *unsupported_formats.left_out([root])]
    labels = survey.labels
    if not survey.pictures or not labels.masks:
        return Inspection(None, shown)
    layout = layout if is_each else inspect_objects.in_masks(inspect_objects.beside(root, layout), labels)
    inspect_objects.as_binary(layout, labels)
    values, _ = inspect_section.class_values(labels)
    names = inspect_names.matched(inspect_layouts.places(root, layout), values, labels)
    labels.palette.update(names.rgb)
    labels.void = names.void
    is_voc = not names.of and inspect_section.is_voc(layout, labels)
    if is_voc:
        lines = inspect_section.voc_section(root, layout)
    else:
        lines = inspect_section.folder_section(root, layout, labels, names.of)
    facts = [f"# {line}" for line in (*_facts(layout, listed, survey, is_voc), *_tracking(inspect_section.place(root)))]
    objects = inspect_section.with_objects(layout, labels, names.of)
    prepared = ["", PROPOSED, *inspect_preparation.section(survey.pictures, objects)]
    doubts = [*inspect_layouts.rivals(layouts), *labels.doubts, *names.doubts, *_doubts(layout, labels)]
    doubts += inspect_preparation.doubts(survey.pictures)
    return Inspection("\n".join([*lines, *facts, *prepared]), [*shown, *doubts])


def _of_export(root: Path, export: Export) -> Inspection:
    """The inspection of what a labelling tool wrote, or of a published layout."""
    lines = inspect_section.export_section(root, export)
    problems = _problems_of(root, export, "\n".join(lines))
    survey = inspect_survey.survey_images(export.images, export.embedded)
    shown = [*problems, *map(str, survey.problems)]
    shown = [*shown[:SHOWN], *([f"and {len(shown) - SHOWN} more"] if len(shown) > SHOWN else [])]
    facts = [*_facts_of(export, survey), *_tracking(inspect_section.place(root))]
    lines += [f"# {line}" for line in facts]
    if survey.pictures:
        objects = inspect_section.export_objects(export)
        lines += ["", PROPOSED, *inspect_preparation.section(survey.pictures, objects)]
    doubts = [] if survey.pictures else ["no image can be read, so no section preprocess is proposed"]
    doubts += _masks_beside(root, export)
    return Inspection("\n".join(lines), [*shown, *doubts, *inspect_preparation.doubts(survey.pictures)])


def _masks_beside(root: Path, export: Export) -> Iterator[str]:
    """Says that masks are there too, which are not those of the export."""
    annotations = str(export.keys.get("annotations", ""))
    if annotations.lower().endswith((".json", ".xml")):
        for layout, count in inspect_layouts.recognise(root)[:1]:
            yield (
                f"annotations and masks fit: {annotations} is taken; {layout.masks} ({count} pairs with "
                f"{layout.images}), which source folder reads, is not"
            )


def _problems_of(root: Path, export: Export, text: str) -> list[str]:
    """What the source says of its own section."""
    module = plugins.choose("segline.sources", export.source, key="data.source")
    try:
        document = params.parse(text.encode(), f"the section proposed for {root}")
        module.require_input(params.section(document, f"data.{export.source}", module.Section), root)
    except PipelineError as error:
        return [str(each) for each in (error.problems if isinstance(error, Problems) else [error])]
    return []


def _facts_of(export: Export, survey: Survey) -> Iterator[str]:
    form = export.keys.get("split")
    yield _images(survey)
    yield from _few(survey, form)
    splits = splitting.names(form) if form else export.keys["splits"]
    if isinstance(form, splitting.ByRatio):
        yield from _few_steps(round(form.shares["train"] * len(survey.pictures)), survey)
    if isinstance(form, splitting.ByRatio | splitting.DrawsVal):
        yield GROUPS
    if "test" not in splits and "val" in splits:
        yield NO_TEST


def _contents(root: Path) -> str:
    kinds = Counter(path.suffix.lower() or "no extension" for path in root.rglob("*") if path.is_file())
    return ", ".join(f"{count} files of {kind}" for kind, count in kinds.most_common(4)) or "no file"


def _tracking(place: Path) -> Iterator[str]:
    """How experiments that run in a copy of the project see a folder inside it; they find an absolute path anyway."""
    if not place.is_absolute():
        command = f"dvc add {shlex.quote(place.as_posix())}"
        yield f"`dvc exp run --temp` and `--queue` see a folder that git ignores only once DVC tracks it: {command}"


def _facts(layout: Layout, listed: Mapping[str, Sequence[Entry]], survey: Survey, is_voc: bool) -> Iterator[str]:
    """What the survey found, and what the user may want to change."""
    labels = survey.labels
    yield f"Pairs: {', '.join(f'{split} {len(entries)}' for split, entries in listed.items())}."
    yield _images(survey)
    yield from _few(survey, layout.form)
    yield from _few_steps(len(listed.get("train", ())), survey)
    yield f"Masks: {_counted(labels.kinds)}."
    if is_voc:
        yield f"Labels: {', '.join(f'{value} in {labels.masks[value]} masks' for value in sorted(labels.masks))}."
        yield "source voc names the 21 classes of PASCAL VOC: a guess. For others add a labels.txt, and inspect again."
    if layout.objects == layout.masks:
        yield "Masks have many values and leave none out: taken as object numbers, a guess."
    values = set(labels.pixels)
    if labels.threshold is None and labels.encoding == "index" and values == {0, 255}:
        yield "Binary masks: 0 and 255 are taken as two classes."
    elif labels.threshold is None and labels.void is None and min(values, default=1) == 0 and not is_voc:
        which = "Value 0" if labels.encoding == "index" else "The colour [0, 0, 0]"
        yield f'{which} is taken as a class, a guess: if it means "not labelled", make it void instead.'
    if (drawn := isinstance(layout.form, splitting.DrawsVal)) or layout.form.by == "ratio":
        yield GROUPS
    if drawn:
        yield "There is no split val: val_from_train draws it from train."
    if "test" not in listed and "val" in listed:
        yield NO_TEST


def _images(survey: Survey) -> str:
    kinds, sizes = (Counter(getattr(picture, name) for picture in survey.pictures) for name in ("kind", "size"))
    shown = ", ".join(f"{width}x{height}" for (height, width), _ in sizes.most_common(3))
    more = f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else ""
    return f"Images: {_counted(kinds)}; {shown}{more}."


def _few(survey: Survey, form: splitting.Form | None) -> Iterator[str]:
    if len(survey.pictures) >= FEW:
        return
    yield (
        f"Fewer than {FEW} images: what a split scores depends on which images are in it. `segline crossvalidate` "
        "tests on every image, after `make repro`."
    )
    if isinstance(form, splitting.ByRatio):
        yield "So val and test get larger shares, as there: a tenth would be under ten images, which decide nothing."


def _few_steps(images: int, survey: Survey) -> Iterator[str]:
    if survey.pictures and not inspect_preparation.is_tiled(survey.pictures):
        yield from inspect_training.doubts(images)


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common()) or "none"


def _doubts(layout: Layout, labels: Labels) -> Iterator[str]:
    splits = splitting.names(layout.form)
    if absent := [split for split in ("train", "val") if split not in splits]:
        known = f"no split {' and no split '.join(absent)}, only {', '.join(splits)}"
        yield f"{known}: add a folder or list, or map it in split.names"
    if len(labels.pixels) > MOST_CLASSES and not labels.common:
        count, path = labels.fullest
        smooth = "smoothed or compressed colours? Export the masks again without"
        yield f"more labels than the {MOST_CLASSES} classes allowed, {count} in {path} alone: {smooth}"
    elif len(labels.pixels) > MANY and not labels.common:
        rare = sum(count < RARE * labels.pixels.total() for count in labels.pixels.values())
        yield (
            f"{len(labels.pixels)} labels, {rare} of them on under {100 * RARE:.0f} % of the pixels each: masks with "
            "smeared edges or numbered objects have so many. If these are not classes, set threshold or export again; "
            "for numbers set threshold: 0, and objects to the pattern of the masks"
        )
    if len(labels.pixels) < 2:
        yield f"{len(labels.pixels)} label in all masks, expected at least two"


def command(args: Namespace) -> None:
    """`segline inspect FOLDER`: prints the two sections and warns of problems."""
    inspection = inspect(args.folder)
    if inspection.section:
        console.say(inspection.section)
    for problem in inspection.problems:
        console.warn(problem)
    if not inspection.section:
        raise DataError(
            args.folder, "no image or no mask that can be used", "Fix the problems above, then inspect again."
        )
