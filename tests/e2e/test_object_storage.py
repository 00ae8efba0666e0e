"""`data.input` in a real object store: what DVC sees of it, and that docs/scale.md says how to get there."""

import re
from collections.abc import Iterator
from hashlib import sha256

import pytest
import yaml

from segline.reproducibility import dvc_lock
from tests import folders, object_store, servers
from tests.e2e.project import Project, overlaid, stages_run
from tests.e2e.reruns import ROOT
from tests.object_store import Store
from tests.stages import test_download

pytestmark = pytest.mark.slow
SECTION = (ROOT / "docs/scale.md").read_text(encoding="utf-8").partition("**A bucket as `data.input`.**")[2]
SETTINGS, EXAMPLE = re.findall(r"```(?:sh|yaml)\n(.*?)```", SECTION, re.DOTALL)[:2]
URL = yaml.safe_load(EXAMPLE)["data"]["input"]
NAME = URL.removeprefix("s3://")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[Store]:
    with object_store.running(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="module")
def collected(unproduced: Project, store: Store, tmp_path_factory) -> Project:
    """A project whose parameters name objects as docs/scale.md does, with the variables from there, after its download.

    Not to be changed: copy it.
    """
    fresh = unproduced.copy(tmp_path_factory.mktemp("objects") / "pr\u00f6ject")
    local = fresh.root / "data/source" / NAME.rpartition("/")[2]
    for split in ("train", "val", "test"):
        folders.pairs(local, f"images/{split}/{{}}.jpg", f"masks/{split}/{{}}.png", [split], [0, 1, 255])
    store.put_folder(local, NAME)
    preset = yaml.safe_load((ROOT / "presets/folder.yaml").read_text(encoding="utf-8"))
    example = yaml.safe_load(EXAMPLE)["data"]
    fresh.write_parameters(overlaid(fresh.parameters(), {"data": {**preset["data"], **example}}))
    exported = {name: store.environment[name] for name in re.findall(r"(AWS_\w+)=", SETTINGS)}
    project = Project(fresh.root, {**fresh.environment, **exported})
    assert ["download"] == stages_run(project.dvc("repro", "download"))
    project.commit("Collect")
    return project


@pytest.fixture
def mine(collected: Project, tmp_path) -> Project:
    """The same, of the test's own."""
    return collected.copy(tmp_path / "mine")


def test_a_single_object_is_fetched_again_when_it_has_changed(mine, store, monkeypatch):
    monkeypatch.chdir(mine.root)
    test_download.pack(test_download.FILES)
    lines = "".join(f"{sha256(content).hexdigest()}  {name}\n" for name, content in test_download.FILES.items())
    store.put("lists/manifest.sha256", lines.encode())
    section = {"source": "camvid", "input": "s3://lists/manifest.sha256"}
    camvid = {"url": "archive.tar.gz", "splits": ["val"]}
    mine.write_parameters(overlaid(mine.parameters(), {"data": section, "data.camvid": camvid}))
    first, second = (stages_run(mine.dvc("repro", "download")) for _ in range(2))
    store.put("lists/manifest.sha256", f"{lines}\n".encode())

    assert (["download"], []) == (first, second)
    assert "download" in mine.changed()


def test_without_the_store_nothing_is_lost(mine):
    raw = mine.locked()["data/raw"]
    with servers.outage(servers.DOWN) as address:
        away = Project(mine.root, {**mine.environment, "AWS_ENDPOINT_URL": f"http://{address}"})
        checked = away.run("python", "-m", "segline", "check")
        away.dvc("repro", "download", fails=True)
    wrong = Project(mine.root, {**mine.environment, "AWS_SECRET_ACCESS_KEY": "wrong"})
    refused = wrong.run("python", "-m", "segline", "check", fails=True)

    assert checked.startswith(f"warning: {URL}: the store gives no usable answer (")
    assert checked.endswith("params.yaml: valid\n")
    assert refused.startswith(f"error: params.yaml: data.input: the store refuses {URL} (")
    assert raw == dvc_lock.md5(mine.root / "data/raw")
    assert "" == mine.git("status", "--short")


def test_inspect_says_that_it_reads_folders(collected):
    said = collected.run("python", "-m", "segline", "inspect", URL, fails=True)

    expected = f"error: {URL}: inspect reads no object storage. Copy some pairs to a folder, and inspect that.\n"
    assert expected == said


def test_objects_are_fetched_once_and_again_when_one_has_changed(mine, store):
    assert "params.yaml: valid\n" == mine.run("python", "-m", "segline", "check")
    again = stages_run(mine.dvc("repro", "download"))
    fetched = mine.locked()["data/raw"]
    replayed = mine.run("python", "-m", "segline", "replay", "download")

    folders.image(mine.root / "new.jpg", seed=1)
    store.put(f"{NAME}/images/train/train.jpg", (mine.root / "new.jpg").read_bytes())
    refused = mine.run("python", "-m", "segline", "replay", "download", fails=True)
    after_a_change = stages_run(mine.dvc("repro", "download"))
    changed = mine.locked()["data/raw"]

    mine.set(data__input=f"data/source/{NAME.rpartition('/')[2]}")
    assert ["download"] == stages_run(mine.dvc("repro", "download"))
    assert ([], ["download"]) == (again, after_a_change)
    assert (fetched, True) == (mine.locked()["data/raw"], fetched != changed)
    assert "identical: all 1 outputs of download" in replayed
    assert f"does not match this folder: download ({URL})" in refused
    assert [".gitignore", "raw", "source"] == sorted(path.name for path in (mine.root / "data").iterdir())
