"""params.yaml -> one frozen, strict section a room.

DVC reads the file as YAML 1.2, PyYAML as YAML 1.1: `1e-5` is a number to one and a string to the other, and a stage
would train with another value than the one DVC tracked. The loader here therefore resolves plain scalars as DVC's
reader does, and refuses the exotic ones (hexadecimal, 1_000, dates). A property test holds the two together.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

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


# What DVC's reader takes an unquoted scalar for, by its first character.
_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+", "-+0123456789"),
    "float": (
        r"[-+]?[0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.[0-9]+([eE][-+][0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
}
# Underscores: DVC's reader takes -_1 for -1 and fails at -_, so whatever might be a number with one is refused.
_EXOTIC = re.compile(r"[-+]?0[box][0-9a-fA-F_]+|(?=.+_)[-+.0-9][-+.0-9eE_]*|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*|<<|=")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with DVC's scalars, without aliases, refusing keys that repeat."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # types-PyYAML calls it an instance's

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _refusal("aliases (*name) are not used here", self.peek_event())  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.ScalarNode) and node.style is None and _EXOTIC.fullmatch(node.value):
            raise _refusal(f"{node.value!r} is read differently by different programs: quote it or write it out", node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _refusal(f"key {key!r} is not text", key_node)
            if key in seen:
                raise _refusal(f"duplicate key {key!r}", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _refusal(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))  # PyYAML would read 010 as 8, DVC reads 10


for _tag, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def load(path: Path = FILE) -> Document:
    """The whole file as nested dicts, lists, str, int, float, bool and None. Raises ParameterError."""
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise ParameterError(path, f"{len(content)} bytes, expected at most {MAX_BYTES}", "Is this the right file?")
        document = yaml.load(content.decode("utf-8"), Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except (FileNotFoundError, IsADirectoryError):
        require_top_folder(path)
        raise ParameterError(path, "missing", "Copy one: cp presets/synthetic.yaml params.yaml") from None
    except UnicodeDecodeError as error:
        raise ParameterError(path, f"not UTF-8 at byte {error.start}", "Save it as UTF-8 text.") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ParameterError(path, f"{line}{error.problem}", "Mend that line.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParameterError(path, f"not YAML ({error})", "Compare with presets/synthetic.yaml.") from None
    if document is None:
        raise ParameterError(path, "is empty, expected sections", "Copy one: cp presets/synthetic.yaml params.yaml")
    if not isinstance(document, dict):
        raise ParameterError(path, f"holds {type(document).__name__}, expected sections", "See presets/synthetic.yaml.")
    return document


def require_top_folder(wanted: Path = FILE) -> None:
    """Raises ParameterError, which names the project's top folder, if the current one lies within it."""
    above = next((folder for folder in Path.cwd().parents if (folder / PROJECT).is_file()), None)
    if above and not PROJECT.is_file():
        remedy = f"Run it in the project's top folder: cd {shlex.quote(str(above))}"
        raise ParameterError(wanted, "missing here", remedy)


def find(document: Document, key: str) -> Any:
    """What stands at a dotted key, such as "data.source". Raises ParameterError that names the first part missing."""
    found: Any = document
    for depth, part in enumerate(parts := key.split(".")):
        if not isinstance(found, dict) or part not in found:
            raise _missing(".".join(parts[: depth + 1]))
        found = found[part]
    return found


def _missing(key: str) -> ParameterError:
    examples = sorted(PRESETS.glob("*.yaml"), key=lambda path: (path.stem != "synthetic", path.name))
    example = next((path for path in examples if _holds(path, key)), f"a file of {PRESETS}/ that has it")
    return ParameterError(f"{FILE}: {key}", "missing", f"Add it; see {example}.")


def _holds(path: Path, key: str) -> bool:
    """Whether the file, which may be broken, has something at the dotted key."""
    try:
        found: Any = load(path)
    except ParameterError:
        return False
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found is not None


def flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of nested mappings in their order, keys joined by dots. Lists and empty mappings are leaves."""
    leaves: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            leaves |= {f"{key}.{inner}": leaf for inner, leaf in flat(value).items()}
        else:
            leaves[str(key)] = value
    return leaves


def text(document: Document, key: str) -> str:
    """The text at a dotted key. Raises ParameterError on anything but text."""
    found = find(document, key)
    if not isinstance(found, str):
        raise ParameterError(f"{FILE}: {key}", f"expected text, got {found!r}", "Write a name.")
    return found


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
    return ParameterError(where, f"{expected}, got {got if len(got) <= 100 else f'{got[:100]}...'}", "Mend the value.")
