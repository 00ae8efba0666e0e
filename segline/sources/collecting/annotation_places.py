"""Parameters of a labelling tool's export: which JSON files, the folder of the images, and how both are split."""

from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

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
