"""What a user can fix, as exceptions.

    PipelineError
    |-- ParameterError    params.yaml or a command-line value
    |-- DataError         an image, a mask, a list, a data set
    |-- IntegrityError    a checksum, an archive member, a model file
    |-- FetchError        the network
    |-- DeviceError       a device or a precision this machine does not have
    |-- TrainingError     a run that diverged
    `-- Problems          several of the above, reported at once

`monitoring.console.run` catches them once and prints one line each, without a traceback.
"""

import difflib
import re
import traceback
from collections.abc import Sequence
from typing import Any

_LONG = re.compile(r"^(.{300}).{200,}?(.{100})$")  # of a word, such as a name that a damaged file makes up


class PipelineError(Exception):
    """`where: problem. remedy.` in one line; the three parts stay readable as attributes."""

    def __init__(self, where: object, problem: str, remedy: str) -> None:
        self.where = str(where)
        self.problem = problem
        self.remedy = remedy
        words = f"{self.where}: {problem}. {remedy}".split()
        line = " ".join(_LONG.sub(r"\1...\2", word) for word in words)
        # A name from a file of unknown origin may contain what a terminal obeys.
        super().__init__("".join(each if each.isprintable() else ascii(each)[1:-1] for each in line))

    def __reduce__(self) -> tuple[Any, ...]:  # an exception is otherwise made again from its one argument, the line
        return type(self), (self.where, self.problem, self.remedy)


class ParameterError(PipelineError):
    """A key or value of params.yaml (or of the command line) that cannot be used."""


class DataError(PipelineError):
    """An image, a mask, a split list or a data set that cannot be used."""


class IntegrityError(PipelineError):
    """Bytes that differ from those expected."""


class FetchError(PipelineError):
    """A download that failed."""


class DeviceError(PipelineError):
    """A device or number format that this machine does not have."""


class TrainingError(PipelineError):
    """A training run that cannot continue."""


class Problems(PipelineError):  # noqa: N818 - it is several errors
    """Several errors found in one pass, printed one per line."""

    def __init__(self, where: object, problems: Sequence[PipelineError]) -> None:
        self.problems = list(problems)
        count = len(self.problems)
        super().__init__(where, f"{count} problem{'s' * (count != 1)} found", "Fix each, then run again.")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.where, self.problems)

    def __str__(self) -> str:
        return "\n".join([str(self.args[0]), *(f"  {problem}" for problem in self.problems)])


def suggestion(name: str, known: Sequence[str], otherwise: str) -> str:
    """A remedy: "Did you mean X?" for the known name closest to `name`, or `otherwise` when none is close."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else otherwise


def portable(error: Exception) -> Exception:
    """The error as another process can say it: with all words of the system's errors, and with a bug's traceback."""
    if isinstance(error, OSError) and error.errno:
        return OSError(error.errno, error.strerror, error.filename)  # pickled are the first words, not later ones
    if not isinstance(error, PipelineError):
        error.add_note("".join(traceback.format_exception(error)))
    return error


def combined(where: object, problems: Sequence[PipelineError]) -> PipelineError:
    """The one problem itself, or `Problems` for several."""
    return problems[0] if len(problems) == 1 else Problems(where, problems)
