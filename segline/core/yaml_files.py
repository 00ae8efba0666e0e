"""YAML as DVC reads it: by the same parser, ruamel.yaml (YAML 1.2)."""

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

DEEPEST = 50  # levels of nesting
TEXT = "tag:yaml.org,2002:str"
# Plain scalars that YAML 1.1 and 1.2 read differently (0x10, 1_000, dates), or that ruamel.yaml fails on (-_).
_AMBIGUOUS = re.compile(r"[-+]?0[box][0-9a-fA-F_]+|(?=.+_)[-+.0-9][-+.0-9eE_]*|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*|<<|=")


class NotYamlError(ValueError):
    """Text that cannot be read. `line` counts from 1; None if the problem has no line."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        self.problem, self.line = problem, line
        super().__init__(problem if line is None else f"line {line}: {problem}")


def read(text: str) -> Any:
    """The content as nested dicts, lists, str, int, float, bool and None. Raises NotYamlError."""
    try:
        return _parser().load(text)
    except MarkedYAMLError as error:
        raise NotYamlError(str(error.problem), error.problem_mark.line + 1 if error.problem_mark else None) from None
    except (YAMLError, ValueError, AttributeError, RecursionError) as error:  # ruamel.yaml raises all of them
        raise NotYamlError(str(error)) from None


def read_strictly(text: str) -> Any:
    """As `read`, for files that people write: refuses aliases, ambiguous scalars, and keys that repeat or are not text.

    Raises NotYamlError.
    """
    try:
        _require_plain(text)  # before the recursive calls, which deep nesting would crash
        root = _parser().compose(text)
    except YAMLError:
        return read(text)  # raises the same error again, with its line
    if root is not None:
        _require_unambiguous(root)
    return read(text)


def _parser() -> YAML:
    return YAML(typ="safe")  # as in dvc/utils/serialize/_yaml.py


def _require_plain(text: str) -> None:
    depth = 0
    for event in _parser().parse(text):
        if isinstance(event, AliasEvent):
            raise _refusal("aliases (*name) are not used here", event)
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST:
            raise _refusal(f"nested more than {DEEPEST} levels deep", event)


def _require_unambiguous(node: Node) -> None:
    if isinstance(node, ScalarNode) and not node.style and _AMBIGUOUS.fullmatch(node.value):
        raise _refusal(f"{node.value!r} is read differently by different programs: quote it or write it out", node)
    if isinstance(node, SequenceNode):
        for item in node.value:
            _require_unambiguous(item)
    if isinstance(node, MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            _require_unambiguous(key)
            if not isinstance(key, ScalarNode) or key.tag != TEXT:
                raise _refusal(f"key {key.value if isinstance(key, ScalarNode) else '[...]'} is not text", key)
            if key.value in seen:
                raise _refusal(f"duplicate key {key.value!r}", key)
            seen.add(key.value)
            _require_unambiguous(value)


def _refusal(problem: str, place: Any) -> NotYamlError:
    return NotYamlError(problem, place.start_mark.line + 1)
