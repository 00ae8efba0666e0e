"""Broken baselines, one of each kind, made from good ones."""

import csv
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segline.core import atomic
from segline.gate import saved_metrics

EVALUATION, IMAGES = saved_metrics.evaluation().name, saved_metrics.per_image().name
Breaking = Callable[[Path], None]  # changes a folder of saved metrics in place


def kinds() -> dict[str, Breaking]:
    """Name -> the function that breaks a good folder."""
    return {
        "no folder": shutil.rmtree,
        "eval.json missing": lambda folder: (folder / EVALUATION).unlink(),
        "per_image.csv missing": lambda folder: (folder / IMAGES).unlink(),
        "eval.json empty": lambda folder: _bytes(folder / EVALUATION, lambda _: b""),
        "per_image.csv cut short": lambda folder: _bytes(folder / IMAGES, lambda content: content[: len(content) // 2]),
        "per_image.csv with a header alone": lambda folder: _rows(folder, lambda rows: rows[:1]),
        "binary garbage": lambda folder: _bytes(folder / EVALUATION, lambda content: b"\x89PNG\xff\x00" + content),
        "merge conflict": lambda folder: _bytes(folder / EVALUATION, _conflict),
        "merge conflict in per_image.csv": lambda folder: _bytes(folder / IMAGES, _conflict),
        "a folder instead of a file": _folder_instead,
        "NaN": lambda folder: _bytes(
            folder / EVALUATION, lambda text: re.sub(rb'"miou": [0-9.]+', b'"miou": NaN', text)
        ),
        "miou missing": lambda folder: _document(folder, lambda document: document.pop("miou")),
        "no protocol": lambda folder: _document(folder, lambda document: document.pop("protocol")),
        "other schema": lambda folder: _protocol(folder, schema="0"),
        "other split": lambda folder: _protocol(folder, split="elsewhere"),
        "other images or masks": lambda folder: _protocol(folder, data="0" * 16),
        "other scoring resolution": lambda folder: _protocol(folder, resolution="that of the network"),
        "other void policy": lambda folder: _protocol(folder, void="a new one"),
        "other class list": lambda folder: _rows(folder, _renamed),
        "an image less": lambda folder: _rows(folder, lambda rows: rows[:-1]),
        "an image twice": lambda folder: _rows(folder, lambda rows: [*rows[:-1], rows[1]]),
        "scores of another run": lambda folder: _document(folder, lambda document: document.update(miou=0.123)),
        "counts that do not add up": lambda folder: _rows(folder, _tampered),
    }


def revisions(project: Path) -> dict[str, str]:
    """Turns a project into a git repository. Kind -> a revision in it without a usable baseline."""
    for command in (["init", "--quiet"], ["add", "--all"], ["rm", "--quiet", "-r", "--cached", "metrics"]):
        _git(project, *command)
    _git(project, "commit", "--quiet", "--message", "Start without metrics")
    return {"no such revision": "origin/main", "a commit without metrics": "HEAD"}


def _git(project: Path, *arguments: str) -> None:
    author = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *author, *arguments], cwd=project, check=True)


def _bytes(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _conflict(content: bytes) -> bytes:
    return b"<<<<<<< HEAD\n" + content + b"=======\n" + content + b">>>>>>> branch\n"


def _folder_instead(folder: Path) -> None:
    atomic.remove(folder / EVALUATION)
    (folder / EVALUATION).mkdir()


def _document(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / EVALUATION
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def _protocol(folder: Path, **values: str) -> None:
    _document(folder, lambda document: document["protocol"].update(values))


def _rows(folder: Path, change: Callable[[list[list[str]]], list[list[str]]]) -> None:
    path = folder / IMAGES
    with path.open(encoding="utf-8", newline="") as stream:
        rows = change(list(csv.reader(stream)))
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def _renamed(rows: list[list[str]]) -> list[list[str]]:
    first = rows[0][4].removesuffix("_tp")
    return [[column.replace(f"{first}_", "renamed_") for column in rows[0]], *rows[1:]]


def _tampered(rows: list[list[str]]) -> list[list[str]]:
    rows[1][5] = str(int(rows[1][5]) + 1)
    return rows
