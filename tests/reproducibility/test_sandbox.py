"""A copy of a project in which a stage runs again: it contains what the stage reads, and is deleted."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from segline.core.errors import DataError, PipelineError
from segline.reproducibility import dvc_lock, sandbox

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FILES = {
    "project/dvc.yaml": """\
stages:
  first: {cmd: echo 1 > out.txt, deps: [../beside/input.txt], outs: [out.txt]}
  second: {cmd: cat out.txt > last.txt, deps: [out.txt, own.txt], outs: [last.txt]}
""",
    "project/params.yaml": "{file: weights/w.bin, archive: ../beside/a.zip, other: none, long: " + "x" * 5000 + "}\n",
    "project/own.txt": "own\n",
    "project/weights/w.bin": "weights",
    "project/segline/code.py": "code",
    "project/segline/__pycache__/code.pyc": "compiled",
    "project/stages/first.py": "code",
    "project/.segline/train.safetensors": "a training of the user's that was interrupted",
    "beside/input.txt": "input\n",
    "beside/a.zip": "archive",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A project whose two stages DVC has run, with a folder beside it. Tests that change it undo the change."""
    folder = tmp_path_factory.mktemp("scr\u00e4tch 1")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        for arguments in (["init", "--quiet", "--no-scm"], ["repro", "--quiet"]):
            subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder / "project", check=True)
    return folder


@pytest.fixture
def root(folder, tmp_path, monkeypatch) -> Path:
    """The project; temporary folders are made in `tmp_path`."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return folder / "project"


def stages_of(root: Path) -> tuple[dvc_lock.Store, dict[str, dvc_lock.Stage]]:
    stages = dvc_lock.stages(root)
    return dvc_lock.Store(root, stages), stages


def test_a_copy_contains_code_parameters_and_what_the_stage_reads(root, tmp_path):
    store, stages = stages_of(root)
    with sandbox.project(root, store, [stages["second"]]) as clone:
        there = {path.relative_to(clone).as_posix() for path in clone.rglob("*") if path.is_file()}

    assert there == {
        "dvc.yaml",
        "params.yaml",
        "segline/code.py",
        "stages/first.py",
        "weights/w.bin",
        "out.txt",
        "own.txt",
    }
    assert [] == list(tmp_path.iterdir())


def test_relative_paths_out_of_the_project_lead_to_the_same_files(root, tmp_path):
    """What `data.input` and `data.camvid.url` may be."""
    store, stages = stages_of(root)
    with sandbox.project(root, store, [stages["first"]]) as clone:
        beside = {path.name: path.read_text(encoding="utf-8") for path in (clone / "../beside").iterdir()}

        assert clone.parent.is_relative_to(tmp_path)
    assert {"input.txt": "input\n", "a.zip": "archive"} == beside
    assert "archive" == (root / "../beside/a.zip").read_text(encoding="utf-8")


def test_what_the_stages_make_themselves_is_not_copied(root):
    store, stages = stages_of(root)
    with sandbox.project(root, store, list(stages.values())) as clone:
        assert not (clone / "out.txt").exists()
        for stage in stages.values():
            sandbox.run(clone, stage)
        assert "1\n" == (clone / "last.txt").read_text(encoding="utf-8")


def test_a_command_runs_without_tracking_and_with_this_python(tmp_path, monkeypatch):
    """Under DVC's variables a stage would write to the user's MLflow, and give advice about the user's outputs."""
    monkeypatch.setenv("DVC_ROOT", "/somewhere")
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setenv("SEGLINE_TRACKING", "on")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # no node would see the copy
    command = 'echo "$SEGLINE_TRACKING $DVC_ROOT$DVC_STAGE$RAY_ADDRESS$(command -v python)" > said'
    sandbox.run(tmp_path, dvc_lock.Stage("train", command, {}, {}))

    assert f"off {Path(sys.executable).with_name('python')}\n" == (tmp_path / "said").read_text(encoding="utf-8")


def test_a_command_finds_no_earlier_outputs(tmp_path):
    """As under DVC, which removes them."""
    (tmp_path / "out").write_text("old", encoding="utf-8")
    sandbox.run(tmp_path, dvc_lock.Stage("train", "test ! -e out", {}, {"out": "md5"}))


def test_a_command_that_fails_is_named_with_its_exit_code(tmp_path):
    with pytest.raises(PipelineError, match=r"^train: `exit 3` ended with exit code 3 in a copy"):
        sandbox.run(tmp_path, dvc_lock.Stage("train", "exit 3", {}, {}))


def test_an_edited_file_is_named_with_its_stage(root):
    store, stages = stages_of(root)
    sandbox.require_locked(root, store, stages.values())
    own = root / "own.txt"
    own.write_text("edited\n", encoding="utf-8")
    try:
        with pytest.raises(DataError, match=r"does not match this folder: second \(own.txt\). Run `make repro`"):
            sandbox.require_locked(root, store, stages.values())
        sandbox.require_locked(root, store, [stages["first"]])
    finally:
        own.write_text("own\n", encoding="utf-8")


def test_missing_results_are_not_an_edit_if_the_cache_has_them(root):
    store, stages = stages_of(root)
    out, cached = root / "out.txt", store.cached(stages["first"].outputs["out.txt"])
    out.unlink()
    try:
        sandbox.require_locked(root, store, stages.values())
        sandbox.require_inputs(root, store, [[stages["second"]]])
        cached.rename(root / "aside")
        sandbox.require_locked(root, store, stages.values())
        with pytest.raises(DataError, match=r"inputs are not in the cache: out.txt. Run `dvc pull`"):
            sandbox.require_inputs(root, store, [[stages["second"]]])
    finally:
        if (root / "aside").exists():
            (root / "aside").rename(cached)
        out.write_text("1\n", encoding="utf-8")


@pytest.mark.parametrize("whole_group", [True, False], ids=["terminal", "kill -INT"])
def test_ctrl_c_ends_the_command_and_removes_the_copy(root, tmp_path, whole_group):
    # The command waits for a second, in which Popen returns: before that, Ctrl-C would hit Python's own code.
    code = f"""
        from pathlib import Path
        from segline.monitoring import console; from segline.reproducibility import dvc_lock, sandbox
        root = Path({str(root)!r})
        stages = dvc_lock.stages(root)
        def main(_):
            with sandbox.project(root, dvc_lock.Store(root, stages), [stages["first"]]) as clone:
                command = "sleep 1; echo $$ > {tmp_path}/pid; exec sleep 600"
                sandbox.run(clone, dvc_lock.Stage("train", command, {{}}, {{}}))
        console.run(main)
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text(encoding="utf-8").endswith("\n")):
        assert process.poll() is None
        time.sleep(0.05)
    child = int(pid.read_text(encoding="utf-8"))
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert (130, "error: stopped by Ctrl-C\n") == (process.returncode, said)
    assert not psutil.pid_exists(child)
    assert [pid] == list(tmp_path.iterdir())
