"""A user's own images and masks, found by pattern below `data.input`. `segline inspect` writes the parameters.

All problems of the folder are reported at once. Pixels are checked by preprocess.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationInfo

from segline.core import params
from segline.core.errors import ParameterError
from segline.dataset.raw import Dataset, Label, Void
from segline.monitoring import console
from segline.sources.collecting import copying, listing, object_files, splitting, unsupported_formats
from segline.sources.collecting.listing import Entry


def _plain(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError("expected a name of printable characters without spaces around it")
    return name


ClassName = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_plain)]
Rgb = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)]


class Coloured(params.Section):
    """The meaning of a colour in colour-coded masks: void, or a class if it has a name."""

    rgb: Rgb

    @property
    def code(self) -> int:
        """Its value in a mask."""
        red, green, blue = self.rgb
        return red << 16 | green << 8 | blue


class Numbered(params.Section):
    """The meaning of a number in index masks, and the colour it is drawn in: void, or a class if it has a name."""

    value: int = Field(ge=0, le=65535)
    rgb: Rgb

    @property
    def code(self) -> int:
        """Its value in a mask."""
        return self.value


class ColouredClass(Coloured):
    name: ClassName


class NumberedClass(Numbered):
    name: ClassName


def _fits_the_split(text: str, info: ValidationInfo) -> str:
    form = info.data.get("split")
    if form is not None and (splitting.SPLIT in text) != isinstance(form, splitting.ByFolder):
        raise ValueError(
            f"expected {'' if isinstance(form, splitting.ByFolder) else 'no '}{{split}} in it with by: {form.by}"
        )
    return text


def _other_files(text: str, info: ValidationInfo) -> str:
    if text == info.data.get("images"):
        raise ValueError("expected a different pattern from that of the images")
    images = info.data.get("images")
    if images is None:
        return text
    if info.field_name == "masks" and info.data.get("objects") == object_files.EACH:
        return object_files.pattern(text, images)
    if listing.stars(text) != (stars := listing.stars(images)):
        raise ValueError(f"expected {stars} * before the extension, as in images: they stand for the same in both")
    return text


def _objects(text: str | None, info: ValidationInfo) -> str | None:
    if text in (None, object_files.EACH):
        return text
    return _other_files(_fits_the_split(listing.pattern(text), info), info)


def _classes(rows: Any, info: ValidationInfo) -> Any:
    kind: Any = NumberedClass if info.data.get("encoding") == "index" else ColouredClass
    classes = TypeAdapter(list[kind]).validate_python(rows)
    splitting.unique([each.name for each in classes])
    names: dict[int, str] = {}
    for each in classes:
        if (first := names.setdefault(each.code, each.name)) != each.name:
            raise ValueError(f"{first!r} and {each.name!r} are the same in masks")
    threshold = info.data.get("threshold")
    if threshold is not None:
        _require_two_sides(classes, threshold)
    return classes


def _require_two_sides(classes: list[NumberedClass], threshold: int) -> None:
    if len(classes) != 2:
        raise ValueError(f"{len(classes)} classes, expected two, as there is a threshold")
    if not classes[0].value <= threshold < classes[1].value:
        raise ValueError(
            f"values {classes[0].value} and {classes[1].value}, expected one of at most the threshold {threshold}, and "
            "then one above it"
        )


def _only_with_index(threshold: int | None, info: ValidationInfo) -> int | None:
    if threshold is not None and info.data.get("encoding", "index") != "index":
        raise ValueError("expected null, as only encoding: index has numbers that it could divide")
    if threshold is None and info.data.get("objects") == object_files.EACH:
        raise ValueError("expected a number, as each mask is one object: its pixels are those with values above it")
    return threshold


def _void(row: Any, info: ValidationInfo) -> Any:
    if row is None:
        return None
    if info.data.get("threshold") is not None:
        raise ValueError("expected null, as the threshold gives each pixel a class")
    void = (Numbered if info.data.get("encoding") == "index" else Coloured).model_validate(row)
    if same := [each.name for each in info.data.get("classes", ()) if each.code == void.code]:
        raise ValueError(f"the same as class {same[0]!r} in masks")
    return void


class Section(params.Section):
    """data.folder: which files are images and masks, how they are split, and what mask values mean.

    With a `threshold` there are two classes: mask values above it are the second, all others the first. `objects` is a
    pattern of files of object numbers, 0 where no object is: they may be the masks themselves. Or each mask file is one
    object (see `object_files`). It is null if nobody numbered them.
    """

    split: splitting.Form
    images: Annotated[str, AfterValidator(listing.pattern), AfterValidator(_fits_the_split)]
    objects: Annotated[str | None, AfterValidator(_objects)]
    masks: Annotated[
        str, AfterValidator(listing.pattern), AfterValidator(_fits_the_split), AfterValidator(_other_files)
    ]
    group: splitting.Group
    encoding: Literal["index", "rgb", "palette"]
    threshold: Annotated[Annotated[int, Field(ge=0, le=65534)] | None, AfterValidator(_only_with_index)]
    classes: Annotated[
        list[ColouredClass | NumberedClass], BeforeValidator(_classes), Field(min_length=1, max_length=255)
    ]
    void: Annotated[Coloured | Numbered | None, BeforeValidator(_void)]


def _rgb(each: Coloured | Numbered) -> tuple[int, int, int]:
    red, green, blue = each.rgb
    return red, green, blue


def splits(section: Section) -> list[str]:
    """The names of the splits that `collect` returns."""
    return splitting.names(section.split)


def describe(section: Section, source_input: Path) -> Dataset:
    """The data set without its pairs."""
    void = section.void
    return Dataset(
        name=source_input.resolve().name,
        classes=tuple(Label(each.name, _rgb(each)) for each in section.classes),
        values=tuple(each.code for each in section.classes) if section.threshold is None else (0, 1),
        void=Void(void.code, _rgb(void)) if void else None,
        encoding=section.encoding,
        splits={},
        threshold=None if section.objects == object_files.EACH else section.threshold,
    )


def require_input(section: Section, source_input: Path) -> None:
    """Raises what `collect` would. Reads no pixels: 20,000 pairs take two seconds."""
    _entries(section, source_input)
    _numbers(section, source_input)


def _entries(section: Section, source_input: Path) -> dict[str, list[Entry]]:
    if not source_input.is_dir():
        remedy = "Put your images and masks there, or name the folder that contains them."
        raise ParameterError(f"{params.FILE}: data.input", f"no such folder: {source_input}", remedy)
    is_each = section.objects == object_files.EACH
    return splitting.entries(
        source_input, section.images, section.masks, section.split, section.group, one_file_each=is_each
    )


def _numbers(section: Section, source_input: Path) -> dict[str, list[Path]]:
    """The files of object numbers of each split, in the order of the pairs; none if nobody numbered them."""
    if section.objects is None or section.objects == object_files.EACH:
        return {}
    numbered = splitting.entries(source_input, section.images, section.objects, section.split, section.group)
    return {split: [entry.mask for entry in entries] for split, entries in numbered.items()}


def collect(section: Section, source_input: Path, folder: Path) -> Dataset:
    """The pairs below `source_input`, their files copied to `folder/<split>/images`, `masks` and `objects`.

    If each mask file is one object, they are drawn into one mask and one file of numbers. Raises ParameterError, and
    DataError for all problems of names, lists and places at once.
    """
    for line in unsupported_formats.left_out([source_input]):
        console.warn(line)
    listed, numbers = _entries(section, source_input), _numbers(section, source_input)
    if section.objects == object_files.EACH and section.threshold is not None:
        pairs = object_files.draw(source_input, listed, section.threshold, folder)
    else:
        pairs = copying.copy(listed, folder, numbers)
    return replace(describe(section, source_input), splits=pairs)
