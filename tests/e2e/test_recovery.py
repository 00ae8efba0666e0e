"""Damage that DVC does not notice or fails on is found and repaired: in its cache, its lock files and dvc.lock."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.e2e.project import Project, stages_from_cache, stages_run
from tests.e2e.test_failures import files_of, present

pytestmark = pytest.mark.slow
CHECK = ("python", "-m", "segline", "check")
RESTORE = ("python", "-m", "segline", "restore")


def cached(project: Project, md5: str) -> Path:
    return project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def flip_a_bit(path: Path) -> None:
    """The object stays read-only, as DVC leaves it and trusts it."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


def damage(project: Project) -> dict[str, str]:
    """Flips a bit in the objects of a model, a table, the list of a folder and a file in another; md5 by path."""
    locked = project.locked()
    listed = json.loads(cached(project, locked["data/processed"]).read_bytes())
    file = next(entry for entry in listed if entry["relpath"] == "train/onehot-00000.npy")
    paths = {path: locked[path] for path in ("models/model.safetensors", "metrics/eval.json", "data/predictions")}
    paths["data/processed/train/onehot-00000.npy"] = file["md5"]
    for md5 in paths.values():
        flip_a_bit(cached(project, md5))
    return paths


def line(path: str, result: str) -> str:
    return f"{path}: damaged in DVC's cache; removed, {result}"


def test_damaged_objects_are_replaced_from_the_folder(project):
    damaged = damage(project)
    output = project.run(*CHECK, "--cache")

    assert {*(line(path, "replaced by the one from this folder") for path in damaged), "params.yaml: valid"} == set(
        output.splitlines()
    )
    assert {0o444} == {cached(project, md5).stat().st_mode & 0o777 for md5 in damaged.values()}
    assert "params.yaml: valid\n" == project.run(*CHECK, "--cache")
    assert set() == project.changed()


def test_a_damaged_object_without_a_good_copy_is_made_again(project):
    """DVC puts the damaged model into the project and is content, even after a forced run."""
    flip_a_bit(cached(project, project.locked()["models/model.safetensors"]))
    flip_a_bit(cached(project, project.locked()["metrics/eval.json"]))
    for path in ("models/model.safetensors", "metrics/eval.json"):
        (project.root / path).unlink()
    assert [] == stages_run(project.dvc("repro"))
    assert files_of(project.locked()) != present(project)
    output = project.run(*CHECK, "--cache", fails=True).splitlines()

    assert line("metrics/eval.json", "replaced by the one from git") in output
    assert line("models/model.safetensors", "no good copy found") in output
    assert output[-1].startswith("error: ")
    assert output[-1].endswith(": models/model.safetensors. Run `make repro`: it runs train again.")
    assert ["train"] == stages_run(project.dvc("repro"))
    assert files_of(project.locked()) == present(project)
    assert "" == project.git("status", "--short")
    assert "params.yaml: valid\n" == project.run(*CHECK, "--cache")


def test_restore_takes_good_bytes_from_a_remote(ascii_project):
    project = ascii_project
    project.dvc("remote", "add", "--default", "store", str(project.root.parent / "store"))
    project.dvc("push")
    damaged = damage(project)
    del damaged["metrics/eval.json"]  # git has it
    for path in ("models/model.safetensors", "data/predictions", "data/processed"):
        (project.root / path).rename(project.root.parent / Path(path).name)
    output = project.run(*RESTORE).splitlines()

    assert {line(path, "replaced by the one from the remote") for path in damaged} <= set(output)
    assert "restored models/model.safetensors" in output
    assert files_of(project.locked()) == present(project)
    assert set() == project.changed()


def test_what_a_killed_dvc_leaves_is_repaired_before_the_next_run(project):
    """A lock file of DVC's own cut short, dvc.lock too, and a half-copied file that git would show."""
    committed = project.read("dvc.lock")
    (project.root / ".dvc/tmp/rwlock").write_bytes(b"")
    project.write("dvc.lock", committed[: committed.rindex("md5:") + len("md5:")])
    (project.root / "metrics/.aV3-_x8JdQw1kLm2nP4rTz.tmp").touch()
    project.dvc("repro", fails=True)
    output = project.run(*CHECK).splitlines()
    [kept] = (project.root / ".dvc/tmp").glob("dvc.lock.damaged-*")

    assert [
        "metrics/.aV3-_x8JdQw1kLm2nP4rTz.tmp: left behind by a run that was killed; removed",
        ".dvc/tmp/rwlock: cut short when DVC was killed; removed",
        f"dvc.lock: cut short when DVC was killed; moved to .dvc/tmp/{kept.name}, and the committed one restored",
        "params.yaml: valid",
    ] == output
    assert [] == stages_run(project.dvc("repro"))
    assert "" == project.git("status", "--short")


def test_a_lock_of_a_process_id_that_lives_again_blocks_no_run(project):
    """Here it is that of pytest."""
    info = {"pid": os.getpid(), "cmd": "/somewhere/dvc/__main__.py repro"}
    project.write(".dvc/tmp/rwlock", json.dumps({"write": {str(project.root / "models/model.safetensors"): info}}))
    project.set(train__epochs=1)
    assert "is busy" in project.dvc("repro", fails=True)
    output = project.run(*CHECK)

    assert ".dvc/tmp/rwlock: held by a DVC that has ended; released\n" in output
    assert ["train", "evaluate", "plot"] == stages_run(project.dvc("repro"))


def from_elsewhere(project: Project) -> None:
    """dvc.lock as another kind of machine would write it: a model of other bytes, and what comes of it."""
    text = project.read("dvc.lock")
    for path, md5 in project.locked().items():
        if path not in {"data/raw", "data/processed", "data/augmented"}:
            text = re.sub(md5, md5[::-1] if not md5.endswith(".dir") else md5[:32][::-1] + ".dir", text)
    project.write("dvc.lock", text)
    project.commit("Train on another machine")


def test_a_lock_of_another_machine_does_not_train_again_what_was_trained_here(project):
    before = project.read("dvc.lock")
    from_elsewhere(project)
    output = project.run(*CHECK, "--run-cache")
    assert "train: outputs in dvc.lock are in no cache; those of the same run here are used\n" in output
    output = project.dvc("repro")

    assert ([], ["evaluate", "plot"]) == (stages_run(output), stages_from_cache(output))
    assert before == project.read("dvc.lock")
    assert "params.yaml: valid\n" == project.run(*CHECK, "--run-cache")


def test_it_trains_where_nothing_was_trained_before(fresh, reproduced):
    """As in a fresh clone: dvc.lock is left as it is."""
    text = reproduced.read("dvc.lock")
    fresh.write("dvc.lock", text)
    output = fresh.run(*CHECK, "--run-cache")

    assert "params.yaml: valid\n" == output
    assert text == fresh.read("dvc.lock")
