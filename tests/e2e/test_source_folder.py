"""Images of the user's in data/source: git leaves them alone, DVC does not, and all stages run on them."""

import json

import pytest
import yaml

from tests import folders
from tests.e2e.project import Project, overlaid, stages_run
from tests.e2e.reruns import ROOT, STAGES
from tests.sources import test_voc

pytestmark = pytest.mark.slow

PLACE = "data/source/it's m\u00fcne (1) & more; *?!#%{}"


@pytest.fixture
def mine(fresh: Project) -> Project:
    """A project whose raw data have been collected from such a folder."""
    for split in ("train", "val", "test"):
        folders.pairs(fresh.root / PLACE, f"images/{split}/{{}}.jpg", f"masks/{split}/{{}}.png", [split], [0, 1, 255])
    preset = yaml.safe_load((ROOT / "presets/folder.yaml").read_text(encoding="utf-8"))
    fresh.write_parameters({**fresh.parameters(), "data": {**preset["data"], "input": PLACE}})
    assert "params.yaml: valid\n" == fresh.run("python", "-m", "segline", "check")
    fresh.dvc("repro", "download")
    return fresh


def test_git_never_takes_them_and_dvc_sees_each_change(mine):
    mine.commit("Collect")
    listed = mine.git("ls-files", "data").splitlines()
    before = mine.dvc_json("status", "--json", "download")
    folders.image(mine.root / PLACE / "images/train/train.jpg", seed=1)
    edited = mine.dvc_json("status", "--json", "download")
    folders.image(mine.root / PLACE / "images/train/train.jpg")
    (mine.root / PLACE / "masks/val/new.png").touch()
    added = mine.dvc_json("status", "--json", "download")

    changed = {"download": [{"changed deps": {PLACE: "modified"}}]}
    assert (["data/.gitignore"], {}, changed, changed) == (listed, before, edited, added)


def test_what_is_missing_among_them_is_told_before_anything_is_removed(mine):
    (mine.root / PLACE / "masks/val/val.png").unlink()
    output = mine.run("python", "-m", "segline", "check", fails=True)

    assert output.startswith(f"error: {PLACE}: 1 images match images/val/*.* and 0 masks match masks/val/*.png, ")
    assert 1 == len(output.splitlines())
    assert (mine.root / "data/raw/val/masks/val.png").is_file()


def test_no_link_type_of_the_cache_touches_the_users_files(mine):
    """With hard links DVC makes its cache read-only, and so every file that is one with a file in it."""
    for link in ("hardlink", "symlink"):
        mine.write(".dvc/config.local", f"[cache]\n    type = {link}\n")
        mine.dvc("repro", "--force", "download")
        originals = [path for path in (mine.root / PLACE).rglob("*.*") if path.is_file()]
        linked = (mine.root / "data/raw/train/images/train.jpg").stat()

        assert 0o444 == linked.st_mode & 0o777, link
        assert 6 == len(originals)
        assert {(1, 0o600)} == {(path.stat().st_nlink, path.stat().st_mode & 0o600) for path in originals}, link
        assert linked.st_ino not in {path.stat().st_ino for path in originals}


def scored(project: Project) -> tuple[list[str], dict[str, str]]:
    """The classes with an IoU, and images and split of the protocol."""
    scores = json.loads(project.read("metrics/eval.json"))
    return sorted(scores["iou"]), {key: scores["protocol"][key] for key in ("images", "split")}


def test_they_run_through_all_stages_and_a_second_time_through_none(mine):
    output = mine.dvc("repro")

    assert list(STAGES)[1:] == stages_run(output), "the fixture ran download"
    assert (["background", "object"], {"images": "1", "split": "test"}) == scored(mine)
    assert {} == mine.dvc_json("status", "--json")


def test_experiments_in_a_copy_see_them_once_dvc_tracks_them(unproduced, tmp_path):
    """`dvc exp run --temp` and `--queue` copy what git and DVC track, and nothing that both leave alone."""
    project = unproduced.copy(tmp_path / "my project")  # in plain letters, for DVC's own configuration files
    for split in ("train", "val", "test"):
        folders.pairs(project.root / "data/source/mine", f"images/{split}/{{}}.jpg", f"masks/{split}/{{}}.png", [split])
    preset = yaml.safe_load((ROOT / "presets/folder.yaml").read_text(encoding="utf-8"))
    classes = [{"name": f"class {value}", "value": value, "rgb": [value, 0, 0]} for value in (0, 1, 2)]
    preset["data"]["folder"] |= {"classes": classes, "void": None}
    project.write_parameters({**project.parameters(), "data": {**preset["data"], "input": "data/source/mine"}})
    project.dvc("add", "data/source/mine")
    project.dvc("repro", "download")
    project.commit("Collect")
    assert ["data/source/mine.dvc"] == project.git("ls-files", "data/source").split()

    output = project.dvc("exp", "run", "--temp", "--name", "one", "-S", "preprocess.height=32", "preprocess")
    assert ["preprocess"] == stages_run(output)
    project.dvc("exp", "run", "--queue", "--name", "two", "-S", "preprocess.height=48", "preprocess")
    project.dvc("exp", "run", "--run-all")
    assert {"one", "two"} == set(project.dvc("exp", "list", "--name-only").split())


def test_voc_runs_through_all_stages_and_a_second_time_through_none(fresh):
    test_voc.write(fresh.root / PLACE, {"train": ["t1", "t2"], "val": ["v1"]})
    values = {"data": {"source": "voc", "input": PLACE, "voc": {"splits": ["train", "val"]}}, "evaluate.split": "val"}
    fresh.write_parameters(overlaid(fresh.parameters(), values))
    assert "params.yaml: valid\n" == fresh.run("python", "-m", "segline", "check")
    output = fresh.dvc("repro")
    classes, protocol = scored(fresh)

    assert list(STAGES) == stages_run(output)
    assert {"background", "aeroplane", "person"} <= set(classes)
    assert {"images": "1", "split": "val"} == protocol
    assert {} == fresh.dvc_json("status", "--json")
