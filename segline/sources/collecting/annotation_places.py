"""Where a labelling tool's export lies: which files, the folder of the images, and how both are split."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import AfterValidator, ValidationInfo

from segline.core import params
from segline.core.errors import ParameterError
from segline.sources.collecting import listing, splitting


def _one_file(text: str, info: ValidationInfo) -> str:
    if not listing.relative(text).lower().endswith(".json") or "*" in text:
        raise ValueError("expected a file that ends in .json, without *")
    form = info.data.get("split")
    if form is not None and (splitting.SPLIT in text) != isinstance(form, splitting.ByFolder):
        raise ValueError(
            f"expected {'' if isinstance(form, splitting.ByFolder) else 'no '}{{split}} in it with by: {form.by}"
        )
    return text


def _folder(text: str, info: ValidationInfo) -> str:
    if text != "." and "*" in listing.relative(text):
        raise ValueError("expected a folder without *")
    form = info.data.get("split")
    if form is not None and splitting.SPLIT in text and not isinstance(form, splitting.ByFolder):
        raise ValueError(f"expected no {{split}} in it with by: {form.by}")
    return text


def _no_lists(form: splitting.Form) -> splitting.Form:
    if isinstance(form, splitting.ByLists):
        raise ValueError("expected by: folder or by: ratio, got by: lists")  # noqa: TRY004 - pydantic passes it on
    return form


# In this order in a section: the last two look at the first.
Split = Annotated[splitting.Form, AfterValidator(_no_lists)]
File = Annotated[str, AfterValidator(_one_file)]
Folder = Annotated[str, AfterValidator(_folder)]  # "." is data.input


class Places(Protocol):
    """What a section says of places."""

    @property
    def split(self) -> splitting.Form: ...
    @property
    def annotations(self) -> str: ...
    @property
    def images(self) -> str: ...


def require_folder(root: Path) -> None:
    """Raises ParameterError unless data.input is a folder."""
    if not root.is_dir():
        remedy = "Put your images and annotations there, or name the folder that contains them."
        raise ParameterError(f"{params.FILE}: data.input", f"no such folder: {root}", remedy)


def of_each_split(root: Path, section: Places) -> Iterator[tuple[str, Path, Path]]:
    """Name, annotation file and folder of the images of each split; of all together, "", if they are drawn by ratio."""
    texts = splitting.folders(section.split) if isinstance(section.split, splitting.ByFolder) else {"": ""}
    for name, text in texts.items():
        file, folder = (each.replace(splitting.SPLIT, text) for each in (section.annotations, section.images))
        yield name, root / file, root / folder
