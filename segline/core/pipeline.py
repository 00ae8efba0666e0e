"""What dvc.yaml says about the stages: the only place that names the paths of results."""

import re
import shlex
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from segline.core import params, yaml_files

ROOT = Path(__file__).resolve().parents[2]  # the folder of dvc.yaml, stages/ and segline/
FILE = "dvc.yaml"
_TEMPLATE = re.compile(r"\$\{([\w.]+)\}")


@cache
def _content() -> dict[str, Any]:
    content: dict[str, Any] = yaml_files.read((ROOT / FILE).read_text(encoding="utf-8"))
    return content


def path(stage: str, argument: str) -> Path:
    """The path that the command of a stage gives as `--ARGUMENT`, relative to the project's top folder."""
    words = shlex.split(_content()["stages"][stage]["cmd"])
    return Path(words[words.index(f"--{argument}") + 1])


def outputs() -> list[Path]:
    """Every path that a stage writes, relative to the project's top folder."""
    stages = _content()["stages"].values()
    entries = [entry for stage in stages for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [Path(next(iter(entry)) if isinstance(entry, dict) else entry) for entry in entries]


def output_folders() -> list[Path]:
    """The folders that stages write to: an output that is a folder, or the folder of an output that is a file."""
    folders = dict.fromkeys(path.parent if path.suffix else path for path in outputs())
    return [folder for folder in folders if folders.keys().isdisjoint(folder.parents)]


def code(stage: str, document: params.Document) -> list[Path]:
    """The code files that a stage depends on under these parameters, including those in listed folders, sorted."""
    listed = [_filled(entry, document) for entry in _content()["stages"][stage]["deps"]]
    places = [ROOT / entry for entry in listed if Path(entry).parts[0] in ("segline", "stages")]
    return sorted(file for place in places for file in _files(place))


def _filled(text: str, document: params.Document) -> str:
    return _TEMPLATE.sub(lambda match: params.text(document, match[1]), text)


def _files(place: Path) -> Iterable[Path]:
    if place.is_file():
        return [place]
    return (path for path in place.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
