"""docs/labelling.md, command by command: the person at the labelling tool is a script that knows the truth."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from segline.dataset import raw
from segline.inference import annotation_files, annotations
from segline.preprocessing.image_files import png
from tests.contract.closure import ROOT
from tests.e2e.project import Project, overlaid

pytestmark = pytest.mark.slow

CLASSES = tuple(raw.Label(name, (value, 0, 0)) for value, name in enumerate(("background", "car", "road")))
SHADES = np.array([30, 120, 210])
COUNT, FIRST, HEIGHT, WIDTH = 45, 20, 24, 32


def truth(number: int) -> np.ndarray:
    """A road, and on it a car with a window that shows the background."""
    rng = np.random.default_rng(number)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[rng.integers(12, 18) :] = 2
    left = rng.integers(0, 16)
    mask[8:20, left : left + 14] = 1
    mask[10:13, left + 3 : left + 8] = 0
    return mask


def name_of(number: int) -> str:
    """With what a shell and a table of commas must quote."""
    return f"img-{number:02}, left"


def write_images(first: Path, rest: Path) -> None:
    first.mkdir(parents=True)
    rest.mkdir()
    for number in range(COUNT):
        folder = first if number < FIRST else rest
        noise = np.random.default_rng([number, 1]).integers(-20, 20, (HEIGHT, WIDTH, 3))
        png.write_png(folder / f"{name_of(number)}.png", (SHADES[truth(number)][..., None] + noise).astype(np.uint8))


def annotate(folder: Path, form: str, numbers: list[int]) -> None:
    """What a person makes of these images, as the tool keeps it."""
    made = annotation_files.Annotations(folder, CLASSES, annotations.Request(form, 0, 0, 0))
    for number in numbers:
        made.add(name_of(number), Path(f"{name_of(number)}.png"), truth(number))
    made.write([name_of(number) for number in numbers])


def commands(title: str) -> list[str]:
    """The lines of the code blocks below a heading, without comments."""
    _, text = (ROOT / "docs/labelling.md").read_text(encoding="utf-8").split(f"## {title}\n")
    blocks = re.findall(r"```sh\n(.*?)```", text.split("\n## ")[0], re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]


def follow(project: Project, title: str, people: list[tuple[str, Callable[[], None]]]) -> list[int]:
    """Runs the commands. Before the next that starts as the first of `people`, that person acts.

    Returns how many images each training had.
    """
    trained = []
    for command in commands(title):
        if people and command.startswith(people[0][0]):
            people.pop(0)[1]()
        if command.startswith("segline inspect"):
            sections = yaml.safe_load(project.run("bash", "-c", f"{command} 2> inspected.txt"))
            project.write_parameters({**overlaid(project.parameters(), {"train.epochs": 15}), **sections})
        elif command == "make repro":
            project.dvc("repro")
            index: Any = json.loads(project.read("data/raw/dataset.json"))
            trained.append(sum(map(len, index["splits"].values())))
        elif not command.startswith("labelme"):
            project.run("bash", "-c", command)
    assert not people
    return trained


def labelled_and_chosen(project: Project) -> list[int]:
    """The images labelled at first, and those that the commands take from the table."""
    rows = [*csv.DictReader(project.read("first/summary.csv").splitlines())][:FIRST]
    return sorted({*range(FIRST), *(int(row["image"][4:6]) for row in rows)})


def share_right(project: Project) -> float:
    """Of the pixels of all images in the first prediction."""
    masks = [project.root / f"first/masks/{name_of(number)}.png" for number in range(FIRST, COUNT)]
    right = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == truth(int(path.stem[4:6])) for path in masks]
    return float(np.mean(right))


def test_with_labelme(fresh):
    write_images(fresh.root / "mine", fresh.root / "rest")

    def save(numbers: list[int]) -> None:
        annotate(fresh.root / "tool", "labelme", numbers)
        for path in (fresh.root / "tool/annotations").iterdir():
            path.rename(fresh.root / "mine" / path.name)

    def label() -> None:
        save([*range(FIRST)])

    def correct() -> None:
        there = sorted((fresh.root / "mine").glob("*.json"))
        assert [name_of(number) for number in labelled_and_chosen(fresh)] == [path.stem for path in there]
        assert [f"{path.stem}.png" for path in there] == [json.loads(path.read_text())["imagePath"] for path in there]
        save(labelled_and_chosen(fresh))

    trained = follow(fresh, "With LabelMe", [("labelme", label), ("labelme", correct)])

    assert [20, 40] == trained
    assert share_right(fresh) > 0.6, "each class has less than half of the pixels"
    assert (fresh.root / "first/least_certain.png").is_file()


def test_with_a_tool_that_reads_and_writes_coco(fresh):
    write_images(fresh.root / "mine/images", fresh.root / "rest")

    def export() -> None:
        annotate(fresh.root / "mine", "coco", [*range(FIRST)])

    def correct() -> None:
        opened = json.loads(fresh.read("second/annotations.json"))
        there = {int(image["file_name"][4:6]) for image in opened["images"]}
        assert there | {*range(FIRST)} == {*labelled_and_chosen(fresh)}
        assert {"background", "car", "road"} == {category["name"] for category in opened["categories"]}
        annotate(fresh.root / "mine", "coco", labelled_and_chosen(fresh))

    people = [("segline inspect", export), ("make repro", lambda: None), ("make repro", correct)]
    trained = follow(fresh, "With a tool that reads and writes COCO", people)

    assert [20, 40] == trained
    assert share_right(fresh) > 0.6, "each class has less than half of the pixels"
