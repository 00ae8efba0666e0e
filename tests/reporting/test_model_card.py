"""The model card: computed, the same every time, and no name in it is markup."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segline.core import records
from segline.dataset import processed
from segline.reporting import model_card
from tests import evaluated

HOSTILE = "|\n# Title <script>alert(1)</script> `x` _y_ [link](http://x) ![](y) **z** $a$ ~~b~~ &lt;\\"
DOCUMENT = {"data": {"source": "folder"}, "model": {"name": "unet"}, "train": {"keep": "best"}}


def subject(world, **changes):
    """What the card of these results is about; the model has no folder, as its path is relative where DVC runs."""
    split = processed.read(world.inputs["processed"])
    about = model_card.Subject(world.inputs["model"], split, world.results(split.index), 2, DOCUMENT)
    return replace(about, **changes)


def render(world, **changes):
    return model_card.render(subject(world, **changes))


def scored_on(world, split):
    """The subject as if another split had been scored."""
    about = subject(world)
    return replace(about, split=replace(about.split, index=replace(about.split.index, split=split)))


def rows(page):
    """The cells of every line of a table."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def section(page, title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)[1]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return evaluated.build(Path("run"))


def test_the_same_results_give_the_same_card_wherever_they_are(tmp_path, monkeypatch):
    """So it contains no date, no host and no folder."""
    cards = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        cards.append(render(evaluated.build(Path("run"))))

    assert cards[0] == cards[1]


def test_every_field_of_a_card_is_there(world):
    page = render(world)

    titles = ["Model", "Intended use", "Data", "Training", "Evaluation", "Limits", "Parameters"]
    assert titles == re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert page.startswith("---\npipeline_tag: image-segmentation\n")
    assert page.endswith("|\n")


def test_it_says_which_model_it_is_about(world):
    table = dict(rows(section(render(world), "Model")))

    assert "1,943,000" == table["parameters"]
    assert "1,210,000,000" == table["multiply-adds per image"]
    assert "16 x 12 pixels (width x height), RGB" == table["input"]
    assert "images are resized to that size, without keeping their aspect ratio" == table["fit"]
    assert "class 0, class 1, class 2" == table["classes"]
    assert "run/model.safetensors" == table["file"]
    assert "d6a7cd2a7371b1a15d543196979ff74fdb027023ebf187d5d329be11055c77fd" == table["sha256 of the file"]


def test_it_says_how_images_became_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiles = {"size": (32, 64), "own": [(100, 90), (20, 20)], "bands": (4, 1, 2)}
    page = render(evaluated.build(Path("run"), fit="tile", **tiles))
    table = dict(rows(section(page, "Model")))

    assert "64 x 32 pixels (width x height), 3 bands" == table["input"]
    assert "images are cut into tiles of that size" == table["fit"]
    assert "4, 1, 2 of the file" == table["bands"]
    assert "bands 4, 1, 2 as red, green, blue" == table["pictures show"]
    assert "1,210,000,000" == table["multiply-adds per tile"]
    assert "split: 2 images from 1 group (a street, a video), cut into 9 tiles." in page
    assert "Seam disagreement: 12.5 %, the share of" in page.replace("\N{NO-BREAK SPACE}", " ")


def test_without_tiles_there_are_no_seams(world):
    assert "Seam" not in render(world)


def test_scores_are_those_of_the_records_with_their_intervals(world):
    page = section(render(world), "Evaluation").replace("\N{NO-BREAK SPACE}", " ")
    scores = records.read_json(world.inputs["eval"])

    assert ["mIoU", f"{100 * scores['miou']:.1f} %", "25.0 % to 50.0 %"] in rows(page)
    assert ["Mean Dice", f"{100 * scores['mean_dice']:.1f} %", ""] in rows(page)
    assert ["fingerprint of the images, masks and classes", scores["protocol"]["data"]] in rows(page)
    for score in records.read_csv(world.inputs["per_class"]):
        rates = [f"{100 * float(score[rate]):.1f} %" for rate in ("iou", "accuracy", "dice")]
        assert [score["class"], *rates, f"{int(score['pixels']):,}"] in rows(page)


def test_what_is_undefined_is_left_out_and_named(tmp_path):
    page = render(evaluated.build(tmp_path / "run", absent=[2]))

    assert [] == [row for row in rows(section(page, "Evaluation")) if row[0] == "class 2"]
    line = "Without a pixel in the masks of the `test` split, so their scores are unknown: class 2."
    assert line in section(page, "Limits")
    assert "undefined" not in section(page, "Evaluation")


def test_a_split_that_is_void_throughout_has_no_scores(tmp_path):
    page = render(evaluated.build(tmp_path / "run", images=2, void_rows=[0, 1]))

    assert "mIoU |" not in page
    assert "their scores are unknown: class 0, class 1, class 2." in page


def test_a_prediction_of_one_class_alone_is_a_limit(world):
    about = subject(world)
    one = replace(about.results, confusion=np.array([[5, 0, 0], [2, 0, 0], [1, 0, 0]]))

    assert "is predicted as" not in model_card.render(about)
    assert "Every scored pixel of the `test` split is predicted as class 0" in model_card.render(
        replace(about, results=one)
    )


def test_weak_classes_are_named_as_limits(world):
    about = subject(world)
    first, second, third = about.results.classes
    weak = [
        first.model_copy(update={"iou": 0.032}),
        second.model_copy(update={"iou": 0.1}),
        third.model_copy(update={"iou": 0.0}),
    ]
    page = model_card.render(replace(about, results=replace(about.results, classes=weak)))

    assert "below 10.0 %: class 0 (3.2 %), class 2 (0.0 %).\n" in section(page, "Limits").replace(
        "\N{NO-BREAK SPACE}", " "
    )


@pytest.mark.parametrize(
    ("split", "keep", "expected"),
    [
        ("val", "best", "the scores are optimistic"),
        ("val", "last", None),
        ("test", "best", None),
        ("train", "last", "this is not a test"),
    ],
)
def test_scores_on_images_that_were_used_before_are_called_so(world, split, keep, expected):
    about = replace(scored_on(world, split), parameters={**DOCUMENT, "train": {"keep": keep}})
    limits = section(model_card.render(about), "Limits")

    said = [words for words in ("the scores are optimistic", "this is not a test") if words in limits]
    assert [expected] * bool(expected) == said


@pytest.mark.parametrize(
    ("source", "expected"),
    [("synthetic", "real streets"), ("aerial", "real aerial images"), ("cells", "real cells"), ("camvid", None)],
)
def test_drawn_images_are_said_to_tell_nothing_of_real_ones(world, source, expected):
    page = render(world, parameters={**DOCUMENT, "data": {"source": source}})

    assert [expected] * bool(expected) == re.findall(r"say nothing about (.*)\.", page)


@pytest.mark.parametrize(("images", "void_rows", "expected"), [(9, (), True), (10, (), False), (10, (3,), True)])
def test_an_interval_of_few_images_is_not_to_be_trusted(tmp_path, images, void_rows, expected):
    page = render(evaluated.build(tmp_path / "run", images=images, void_rows=void_rows))

    assert expected is ("Too few images" in page)


def test_groups_make_intervals_too_narrow_only_where_images_share_one(world):
    about = subject(world)
    alone = tuple(replace(origin, group=origin.stem) for origin in about.split.index.origins)
    unknown = tuple(replace(origin, group=None) for origin in about.split.index.origins)

    assert "from 1 group (a street, a video)" in model_card.render(about)
    assert "too narrow" in model_card.render(about)
    for origins in (alone, unknown):
        changed = replace(about.split, index=replace(about.split.index, origins=origins))
        assert "too narrow" not in model_card.render(replace(about, split=changed))


def test_every_parameter_in_use_is_listed(world):
    document = {**DOCUMENT, "train": {"keep": "last", "learning_rate": 1e-5, "nested": {"on": True}}}
    table = rows(section(render(world, parameters=document), "Parameters"))

    assert ["train.learning_rate", "1e-05"] in table
    assert ["train.nested.on", "true"] in table


def test_no_name_is_markup(tmp_path):
    """A class name comes from someone's data: it stays text, and in its cell of the table."""
    name = HOSTILE.replace("\n", " ")  # with a line break, the split would be refused
    world = evaluated.build(tmp_path / "run", classes=[name, "sign_symbol"])
    page = render(world, parameters={**DOCUMENT, HOSTILE: HOSTILE})

    assert "<script" not in page.replace("\\<", "")
    assert 2 == len(rows(section(page, "Parameters"))[-1])
    assert {5} == {len(row) for row in rows(section(page, "Evaluation")) if len(row) > 3}
    assert titles_of(render(evaluated.build(tmp_path / "plain"))) == titles_of(page)
    assert "sign_symbol" in page, "an underscore within a word is left alone"


def titles_of(page):
    return re.findall(r"^#+ .*$", page, re.MULTILINE)


@pytest.mark.parametrize("text", ["a", "sign_symbol", "3.5 %", "data.camvid.url"])
def test_usual_text_stays_as_it_is(text):
    assert text == model_card.plain(text)


def test_json_of_the_results_is_all_it_reads(world):
    """Changing the cost in eval.json changes the card: nothing is taken from the network itself."""
    path = world.inputs["eval"]
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cost"] = {"parameters": 7}
    path.write_text(json.dumps(content), encoding="utf-8")

    assert ["parameters", "7"] in rows(render(world))
