"""The parameters a stage reads are those it declares, leaf by leaf: seen by running each stage and watching.

A key that dvc.yaml puts into a stage's command or dependencies (`${data.input}`) is read by DVC on its behalf. To copy
a section whole, as for the name of a training and for the model file, is to read nothing: what is read of the copy is.
"""

import contextlib
import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from segline.core import params
from segline.core.errors import PipelineError
from segline.networks import small_unet
from segline.reporting import report
from segline.training import pretrained
from stages import download, evaluate, plot, preprocess, train
from tests import folders, tiny
from tests.contract.closure import ROOT
from tests.networks.test_networks import SECTIONS as NETWORKS

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def labelled(**places: str) -> dict[str, Any]:
    """The section of a labelling tool. Each has its own lists: YAML would name those that are shared."""
    rules = {"classes": ["cat"], "unlabelled": "void", "unknown": "void", "faults": "skip", "group": ""}
    return {**rules, "split": {"by": "ratio", "shares": {"val": 1.0}, "seed": 1}, **places}


SOURCES = {
    "synthetic": {"seed": 1, "height": 96, "width": 96, "train": 1, "val": 1, "test": 1},
    "aerial": {"seed": 1, "size": 256, "train": 1, "val": 1, "test": 1},
    "cells": {"seed": 1, "height": 64, "width": 64, "train": 1, "val": 1, "test": 1},
    "camvid": {"url": "missing.tar.gz", "splits": ["val"]},
    "voc": {"splits": ["val"]},
    "folder": {
        "images": "images/*.png",
        "objects": None,
        "masks": "masks/*.png",
        "split": {"by": "ratio", "shares": {"val": 1.0}, "seed": 1},
        "group": "",
        "encoding": "index",
        "threshold": None,
        "classes": [{"name": "ground", "value": 0, "rgb": [0, 0, 0]}],
        "void": {"value": 9, "rgb": [1, 2, 3]},
    },
    "cityscapes": {"splits": ["val"]},
    "cvat": labelled(annotations="annotations.xml", images="images"),
    "labelme": labelled(annotations="labelme_*.json"),
    "coco": labelled(annotations="instances.json", images="images"),
    "label_studio": labelled(annotations="export.json", images="images", field="image"),
}
# What the sources of labelling tools find, with one label that is no class.
ANNOTATIONS = {
    "instances.json": """{"images": [{"id": 1, "file_name": "a.png", "height": 12, "width": 16}],
        "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]]}],
        "categories": [{"id": 1, "name": "bird"}]}""",
    "annotations.xml": """<annotations><image name="a.png" width="16" height="12">
        <polygon label="bird" points="0,0;9,0;9,9"/></image></annotations>""",
    "labelme_a.json": """{"imagePath": "images/a.png", "imageData": null, "shapes": [
        {"label": "bird", "points": [[0, 0], [9, 0], [9, 9]], "shape_type": "polygon"}]}""",
    "export.json": """[{"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": [{"type": "polygonlabels",
        "value": {"points": [[0, 0], [50, 0], [50, 50]], "polygonlabels": ["bird"]}, "original_width": 16,
        "original_height": 12}]}]}]""",
}
PLOT = [
    *("--history", "metrics/history.csv", "--train", "metrics/train.json", "--eval", "metrics/eval.json"),
    *("--per-class", "metrics/per_class.csv", "--per-image", "metrics/per_image.csv"),
    *("--confusion", "metrics/confusion.json", "--processed", "data/processed/test"),
    *("--predictions", "data/predictions", "--augmented", "data/augmented"),
    *("--model", "models/model.safetensors"),
    *("--plots", "metrics/plots", "--report", "metrics/report.html", "--card", "models/README.md"),
]


def leaves(document: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted keys of everything that is no section."""
    found = set()
    for key, value in document.items():
        nested = isinstance(value, dict) and value  # an empty mapping is a leaf
        found |= leaves(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}"}
    return found


def filled(text: str, document: dict[str, Any]) -> str:
    return re.sub(r"\$\{([\w.]+)\}", lambda match: str(params.find(document, match[1])), text)


def declared(stage: str, document: dict[str, Any]) -> set[str]:
    """The leaves under a stage's `params:`, templates filled."""
    groups = [filled(entry, document) for entry in PIPELINE[stage]["params"]]
    return {leaf for leaf in leaves(document) for group in groups if leaf == group or leaf.startswith(f"{group}.")}


def templated(stage: str) -> set[str]:
    """The keys that stand in a stage's command, dependencies and parameter names."""
    return set(re.findall(r"\$\{([\w.]+)\}", yaml.safe_dump(PIPELINE[stage])))


@pytest.fixture
def reads(monkeypatch) -> set[str]:
    """Fills with the dotted key of every leaf that a stage reads while the test runs."""
    found: set[str] = set()
    owners: dict[int, tuple[str, Any]] = {}  # id of a section, or of the copy that a model file keeps of one
    section, text, described, render = params.section, params.text, pretrained.described, report.render
    validate = params.Section.model_validate.__func__

    def watched_section(document, key, model):
        made = section(document, key, model)
        owners[id(made)] = (key, made)
        return made

    def watched_text(document, key):
        found.add(key)
        return text(document, key)

    def watched_attribute(self, name):
        value = object.__getattribute__(self, name)
        if name in type(self).model_fields and id(self) in owners:
            key = f"{owners[id(self)][0]}.{name}"
            if isinstance(value, params.Section):  # a section within: what is read of it will be seen
                owners[id(value)] = (key, value)
            else:
                found.update(leaves({key: value}))
        return value

    def watched_copy(of):
        made = described(of)
        owners[id(made)] = (owners[id(of)][0], made)
        return made

    def watched_validate(cls, content):
        made = validate(cls, content)
        if id(content) in owners:  # the copy: a section again, from which the network is built
            owners[id(made)] = (owners[id(content)][0], made)
        return made

    def watched_render(material, *rest):
        found.update(leaves(material.parameters))
        return render(material, *rest)

    monkeypatch.setattr(params, "section", watched_section)
    monkeypatch.setattr(params, "text", watched_text)
    monkeypatch.setattr(params.Section, "__getattribute__", watched_attribute)
    monkeypatch.setattr(params.Section, "model_validate", classmethod(watched_validate))
    monkeypatch.setattr(pretrained, "described", watched_copy)
    monkeypatch.setattr(report, "render", watched_render)
    return found


@pytest.fixture
def project(tmp_path, monkeypatch) -> dict[str, Any]:
    """A folder with raw data and parameters; the parameters."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGLINE_TRACKING", "off")
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    tiny.write_raw(Path("data/raw"), {"train": 4, "val": 2, "test": 2})
    document = copy.deepcopy(tiny.PARAMETERS)
    document["data"] = {"source": "synthetic", "input": "segline/sources/streets", **copy.deepcopy(SOURCES)}
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return document


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_download(source, project, reads):
    project["data"]["source"] = source
    Path("params.yaml").write_text(yaml.safe_dump(project), encoding="utf-8")
    starts_from = {
        "synthetic": ROOT / "segline/sources/streets",
        "aerial": ROOT / "segline/sources/aerial.py",
        "cells": ROOT / "segline/sources/cells.py",
        "camvid": ROOT / "segline/sources/camvid.sha256",
    }
    folders.pairs(Path("source"), "images/{}.png", "masks/{}.png", "a")
    for name, content in ANNOTATIONS.items():
        Path("source", name).write_text(content)
    with contextlib.suppress(PipelineError):  # the archive is missing, which is found out after all is read
        download.main(["--input", str(starts_from.get(source, "source")), "--raw", "data/new"])

    assert declared("download", project) == reads | templated("download") & declared("download", project)


def choose_network(name, document):
    """Writes params.yaml with this network, as small as it can be."""
    document["model"] = {"name": name, "head": "softmax", name: NETWORKS[name].model_dump()}
    document["train"]["epochs"] = 1
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")


@pytest.mark.parametrize(
    "network",
    [pytest.param(name, marks=[pytest.mark.slow] * (name != "unet")) for name in sorted(NETWORKS)],
)
def test_the_stages_after_it(network, project, reads):
    choose_network(network, project)
    arguments = {
        preprocess: ["--raw", "data/raw", "--processed", "data/processed"],
        train: tiny.TRAIN,
        evaluate: tiny.EVALUATE,
        plot: PLOT,
    }
    for stage, paths in arguments.items():
        name = stage.__name__.split(".")[-1]
        reads.clear()
        stage.main(paths)

        assert (name, declared(name, project)) == (name, reads | templated(name))


def test_a_leaf_that_is_read_but_not_declared_would_be_seen(project, reads, monkeypatch):
    """The meta-test: with one declaration gone, what is read is more than what is declared."""
    others = [f"preprocess.{key}" for key in project["preprocess"] if key != "void"]
    monkeypatch.setitem(PIPELINE["preprocess"], "params", others)
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])

    assert {"preprocess.void"} == reads - declared("preprocess", project)


def test_a_leaf_that_is_declared_but_never_read_would_be_seen(project, reads, monkeypatch):
    """The other meta-test: a network that has its own width, though the one in params.yaml goes into the model file."""
    choose_network("small_unet", project)
    build = small_unet.build
    monkeypatch.setattr(small_unet, "build", lambda _, *sizes: build(NETWORKS["small_unet"], *sizes))
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])
    reads.clear()
    train.main(tiny.TRAIN)

    assert {"model.small_unet.width"} == declared("train", project) - reads - templated("train")
