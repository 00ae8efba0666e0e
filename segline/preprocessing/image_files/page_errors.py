"""Errors of one page of a file name the page; the same error of several pages is told once."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from segline.core.errors import DataError, PipelineError

_PAGE = re.compile(r": page \d+: ")


def on_page(error: DataError, page: int | None) -> DataError:
    """The error of a page, counted from 1; None is the only one, which needs no number."""
    return error if page is None else DataError(error.where, f"page {page}: {error.problem}", error.remedy)


@contextmanager
def of_page(page: int | None) -> Iterator[None]:
    """Any DataError that is raised meanwhile names the page."""
    try:
        yield
    except DataError as error:
        raise on_page(error, page) from None


def once(problems: Iterable[PipelineError]) -> list[PipelineError]:
    """The problems without those that another page has too: of these, only the first page is named."""
    found: dict[str, PipelineError] = {}
    for problem in problems:
        found.setdefault(_PAGE.sub(": ", str(problem)), problem)
    return [*found.values()]
