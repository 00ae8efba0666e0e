"""params.yaml -> one frozen, strict model for each section.

DVC tracks the values that its own reader sees, so the file is read by the same one (`segline.core.yaml_files`).
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import InitErrorDetails

from segline.core import untrusted, yaml_files
from segline.core.errors import ParameterError, combined, suggestion

FILE = Path("params.yaml")
PROJECT = Path("dvc.yaml")  # marks the project's top folder
PRESETS = Path("presets")
MAX_BYTES = 1 << 20

Document = dict[str, Any]
SectionType = TypeVar("SectionType", bound="Section")


class Section(BaseModel):
    """One section of params.yaml. No field has a default: a default is a parameter that DVC cannot see."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def load(path: Path = FILE) -> Document:
    """The whole file, as `parse`. Raises ParameterError."""
    try:
        content = untrusted.read(path, MAX_BYTES)
    except FileNotFoundError as error:
        require_top_folder(path)
        remedy = "Copy one: cp presets/synthetic.yaml params.yaml"
        raise ParameterError(path, untrusted.problem(error), remedy) from None
    except OSError as error:
        raise ParameterError(path, untrusted.problem(error), "Check the file and its permissions.") from None
    return parse(content, path)


def parse(content: bytes, where: object) -> Document:
    """The bytes as nested dicts, lists, str, int, float, bool and None; `where` names them. Raises ParameterError."""
    if len(content) > MAX_BYTES:
        raise ParameterError(where, f"{len(content)} bytes, expected at most {MAX_BYTES}", "Is this the right file?")
    try:
        document = yaml_files.read_strictly(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ParameterError(where, f"not UTF-8 at byte {error.start}", "Save it as UTF-8 text.") from None
    except yaml_files.NotYamlError as error:
        if error.line is None:
            raise ParameterError(where, f"not YAML ({error})", "Compare with presets/synthetic.yaml.") from None
        raise ParameterError(where, str(error), "Fix that line.") from None
    if document is None:
        raise ParameterError(where, "is empty, expected sections", "Copy one: cp presets/synthetic.yaml params.yaml")
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise ParameterError(where, f"contains {kind}, expected sections", "See presets/synthetic.yaml.")
    return document


def require_top_folder(wanted: Path = FILE) -> None:
    """Raises ParameterError, which names the project's top folder, if the current folder is inside it."""
    above = next((folder for folder in Path.cwd().parents if (folder / PROJECT).is_file()), None)
    if above and not PROJECT.is_file():
        remedy = f"Run it in the project's top folder: cd {shlex.quote(str(above))}"
        raise ParameterError(wanted, "missing here", remedy)


def find(document: Document, key: str) -> Any:
    """The value at a dotted key, such as "data.source". Raises ParameterError that names the first missing part."""
    value: Any = document
    for depth, part in enumerate(parts := key.split(".")):
        if not isinstance(value, dict) or part not in value:
            raise _missing(".".join(parts[: depth + 1]))
        value = value[part]
    return value


def _missing(key: str) -> ParameterError:
    examples = sorted(PRESETS.glob("*.yaml"), key=lambda path: (path.stem != "synthetic", path.name))
    example = next((path for path in examples if _has(path, key)), f"a file of {PRESETS}/ that has it")
    return ParameterError(f"{FILE}: {key}", "missing", f"Add it; see {example}.")


def _has(path: Path, key: str) -> bool:
    """Whether the file, which may be broken, has something at the dotted key."""
    try:
        value: Any = load(path)
    except ParameterError:
        return False
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value is not None


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of nested mappings, in order, keys joined by dots. Lists and empty mappings are leaves."""
    leaves: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            leaves |= {f"{key}.{inner}": leaf for inner, leaf in flat(value).items()}
        else:
            leaves[str(key)] = value
    return leaves


def text(document: Document, key: str) -> str:
    """The text at a dotted key. Raises ParameterError on anything but text."""
    value = find(document, key)
    if not isinstance(value, str):
        raise ParameterError(f"{FILE}: {key}", f"expected text, got {value!r}", "Write a name.")
    return value


def section(document: Document, key: str, model: type[SectionType]) -> SectionType:
    """The validated section at a dotted key. Raises a ParameterError for each bad key or value, all at once."""
    content = find(document, key)
    if not isinstance(content, dict):
        raise ParameterError(f"{FILE}: {key}", f"expected a section, got {content!r}", "Write `key: value` lines.")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = [_problem(key, dict(detail), list(model.model_fields)) for detail in error.errors()]
        raise combined(f"{FILE}: {key}", problems) from None


def one_of(forms: Mapping[str, type[Section]], value: Any) -> Section:
    """The section in the form that its key `by` names; for a BeforeValidator. Raises ValueError or ValidationError.

    (With pydantic's own discriminated unions an error names the form as if it were a key.)
    """
    if not isinstance(value, dict):
        raise ValueError(f"expected a section with by: {' | '.join(forms)}")  # noqa: TRY004 - pydantic passes it on
    by = value.get("by")
    if isinstance(by, str) and by in forms:
        return forms[by].model_validate(value)
    kind = "literal_error" if "by" in value else "missing"
    detail = InitErrorDetails(type=kind, loc=("by",), input=by, ctx={"expected": " | ".join(forms)})
    raise ValidationError.from_exception_data("form", [detail])


def expecting(what: str) -> WrapValidator:
    """For a union: one error that says what is expected, where pydantic has one for each member."""

    def validate(value: Any, validated: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validated(value)
        except ValidationError:
            raise ValueError(f"expected {what}") from None

    return WrapValidator(validate)


def _problem(key: str, detail: dict[str, Any], known: list[str]) -> ParameterError:
    near = known if len(detail["loc"]) == 1 else []  # a deeper section has keys of its own
    key = ".".join([key, *(str(part) for part in detail["loc"])])
    if detail["type"] == "missing":
        return _missing(key)
    where = f"{FILE}: {key}"
    if detail["type"] == "extra_forbidden":
        return ParameterError(where, "unknown key", suggestion(str(detail["loc"][-1]), near, "Remove it."))
    message = detail["msg"].removeprefix("Value error, ")
    expected = message[0].lower() + message[1:]
    got = repr(detail["input"])
    return ParameterError(where, f"{expected}, got {got if len(got) <= 100 else f'{got[:100]}...'}", "Fix the value.")
