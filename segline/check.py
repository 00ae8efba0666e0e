"""Whether params.yaml can be used, found out before DVC removes anything.

Every section is validated by the room that owns it, those of sources and networks that are not chosen included.
"""

from pathlib import Path

from segline import choice, evaluation, pairs, params, ranking, training
from segline.errors import ParameterError, PipelineError, Problems

OWNERS: dict[str, type[params.Section]] = {
    "preprocess": pairs.Section,
    "train": training.Section,
    "evaluate": evaluation.Section,
    "plot": ranking.Section,
}
CHOICES = {"data": ("source", "segline.sources", ("source", "input")), "model": ("name", "segline.networks", ("name",))}


def problems(path: Path = params.FILE) -> list[PipelineError]:
    """Everything that is wrong with the file: unknown, missing, mistyped and out-of-range keys. Empty if nothing is."""
    document = params.load(path)
    known = [*OWNERS, *CHOICES]
    found: list[PipelineError] = [_unknown(key, known) for key in document if key not in known]
    for key, owner in OWNERS.items():
        found += _section(document, key, owner)
    for key, (selector, package, own_keys) in CHOICES.items():
        found += _choice(document, key, selector, package, own_keys)
    return found


def _unknown(key: str, known: list[str]) -> ParameterError:
    return ParameterError(f"{params.FILE}: {key}", "unknown key", params.suggestion(key, known, "Remove it."))


def _section(document: params.Document, key: str, owner: type[params.Section]) -> list[PipelineError]:
    try:
        params.section(document, key, owner)
    except Problems as error:
        return error.problems
    except ParameterError as error:
        return [error]
    return []


def _choice(
    document: params.Document, key: str, selector: str, package: str, own_keys: tuple[str, ...]
) -> list[PipelineError]:
    try:
        section = params.find(document, key)
        if not isinstance(section, dict):
            return [ParameterError(f"{params.FILE}: {key}", "expected a section", "Write `key: value` lines.")]
        names = choice.names(package)
        found: list[PipelineError] = [
            _unknown(f"{key}.{name}", [f"{key}.{known}" for known in (*own_keys, *names)])
            for name in section
            if name not in (*own_keys, *names)
        ]
        for own_key in own_keys:
            params.text(document, f"{key}.{own_key}")
        chosen = params.text(document, f"{key}.{selector}")
        choice.choose(package, chosen, key=f"{key}.{selector}")
    except ParameterError as error:
        return [error]
    for name in names:
        if name in section or name == chosen:
            module = choice.choose(package, name, key=f"{key}.{selector}")
            found += _section(document, f"{key}.{name}", module.Section)
    return found
