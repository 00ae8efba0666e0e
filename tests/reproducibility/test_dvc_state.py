"""What a killed DVC leaves behind is repaired, and nothing that a DVC may still need. On a real one: tests/e2e."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segline.core.errors import DataError
from segline.reproducibility import dvc_lock, dvc_state

pytestmark = pytest.mark.slow  # each test that repairs anything asks DVC for its configuration
LEFTOVER = "metrics/.aV3-_x8JdQw1kLm2nP4rTz.tmp"
LOCK = "schema: '2.0'\nstages:\n  train:\n    cmd: train\n    outs:\n    - path: model.bin\n      md5: 0123\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project of DVC without git."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    root = tmp_path / "project"
    for folder in (".dvc/tmp", "metrics"):
        (root / folder).mkdir(parents=True)
    (root / ".dvc/config").write_text("[core]\n    no_scm = True\n    analytics = false\n", encoding="utf-8")
    (root / "dvc.lock").write_text(LOCK, encoding="utf-8")
    return root


def write_rwlock(root: Path, process: subprocess.Popen[bytes] | None, command: str) -> str:
    """As DVC writes it for a stage that runs in this process; None: that of pytest."""
    info = {"pid": process.pid if process else os.getpid(), "cmd": command}
    text = json.dumps({"write": {f"{root}/model.bin": info}, "read": {f"{root}/data": [info]}})
    (root / ".dvc/tmp/rwlock").write_text(text, encoding="utf-8")
    return text


@pytest.fixture
def program():
    """A process that has nothing to do with DVC, started before any file of the test is written."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "repro", "train"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("name", ["data/.processed.partial", "metrics/.plots.partial", "metrics/.eval.json.partial"])
def test_what_a_killed_stage_had_half_written_is_removed(root, name):
    """DVC may take the output from its run-cache: then no run of the stage would ever remove it."""
    (root / name).mkdir(parents=True)

    assert [f"{name}: left behind by a run that was killed; removed"] == dvc_state.heal(root)
    assert not (root / name).exists()


def test_what_a_stage_is_still_writing_stays(root):
    """Its DVC was killed a moment ago."""
    (root / "metrics/.plots.partial").mkdir()
    stage = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "stages.plot"], cwd=root)
    try:
        assert [] == dvc_state.heal(root)
    finally:
        stage.kill()
        stage.wait()

    assert ["metrics/.plots.partial: left behind by a run that was killed; removed"] == dvc_state.heal(root)


def test_a_sound_project_is_left_alone_at_once(root, program):
    """Also one with an entry of a DVC at work: same arguments, started before the entry was made."""
    text = write_rwlock(root, program, "/somewhere/dvc/__main__.py repro train")
    (root / "metrics/.mine.tmp").touch()
    before = time.monotonic()

    assert [] == dvc_state.heal(root)
    assert time.monotonic() - before < 0.3, "without asking DVC"
    assert (root / ".dvc/tmp/rwlock").read_text(encoding="utf-8") == text
    assert (root / "metrics/.mine.tmp").exists()


@pytest.mark.parametrize("content", ["", '{"write": {"/a": {"pid": 1', "[]", '{"write": {"a": {}}}', '{"other": {}}'])
def test_a_cut_rwlock_is_removed(root, content):
    (root / ".dvc/tmp/rwlock").write_text(content, encoding="utf-8")

    assert [".dvc/tmp/rwlock: cut short when DVC was killed; removed"] == dvc_state.heal(root)
    assert not (root / ".dvc/tmp/rwlock").exists()
    assert [] == dvc_state.heal(root)


def test_an_entry_of_a_process_that_is_now_another_program_is_released(root, program):
    write_rwlock(root, program, "/somewhere/dvc/__main__.py repro plot")

    assert [".dvc/tmp/rwlock: held by a DVC that has ended; released"] == dvc_state.heal(root)
    assert {"write": {}, "read": {}} == json.loads((root / ".dvc/tmp/rwlock").read_text(encoding="utf-8"))


def test_an_entry_older_than_its_process_is_released(root, program):
    write_rwlock(root, program, "/somewhere/dvc/__main__.py repro train")
    os.utime(root / ".dvc/tmp/rwlock", (1e9, 1e9))

    assert [".dvc/tmp/rwlock: held by a DVC that has ended; released"] == dvc_state.heal(root)


def test_a_half_copied_file_is_removed(root):
    (root / LEFTOVER).touch()

    assert [f"{LEFTOVER}: left behind by a run that was killed; removed"] == dvc_state.heal(root)
    assert [] == list((root / "metrics").iterdir())


@pytest.mark.parametrize("content", ["", LOCK[:40], LOCK[:-4], "\0" * 100])
def test_a_cut_lock_is_moved_away_where_git_has_none(root, content):
    (root / "dvc.lock").write_text(content, encoding="utf-8")
    [line] = dvc_state.heal(root)

    [kept] = (root / ".dvc/tmp").glob("dvc.lock.damaged-*")
    assert line.startswith(f"dvc.lock: cut short when DVC was killed; moved to .dvc/tmp/{kept.name}, and git has none")
    assert not (root / "dvc.lock").exists()
    assert kept.read_text(encoding="utf-8") == content


def test_a_second_damaged_lock_does_not_replace_the_first(root):
    for content in (LOCK[:40], LOCK[:-4]):
        (root / "dvc.lock").write_text(content, encoding="utf-8")
        dvc_state.heal(root)

    kept = {path.read_text(encoding="utf-8") for path in (root / ".dvc/tmp").glob("dvc.lock.damaged-*")}
    assert {LOCK[:40], LOCK[:-4]} == kept


def test_a_lock_with_several_commands_and_a_url_is_not_taken_for_cut(root):
    """DVC allows both, and what our own stages do not use is no damage."""
    content = LOCK.replace(
        "    cmd: train\n", "    cmd:\n    - train\n    - test\n    deps:\n    - path: https://x/y\n      etag: a\n"
    )
    assert content != LOCK
    (root / "dvc.lock").write_text(content, encoding="utf-8")

    assert [] == dvc_state.heal(root)
    assert (root / "dvc.lock").read_text(encoding="utf-8") == content


def test_every_cut_that_dvc_fails_on_is_found():
    """Some cuts leave a shorter lock that is valid: DVC then takes the rest from its run-cache."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils.serialize import ParseError, parse_yaml
    from voluptuous import Invalid

    text = (
        "schema: '2.0'\nstages:\n  train:\n    cmd: train\n    deps:\n    - path: data\n      hash: md5\n"
        "      md5: 0123456789abcdef0123456789abcdef.dir\n      size: 3\n      nfiles: 1\n    params:\n"
        "      params.yaml:\n        train:\n          epochs: 1\n    outs:\n    - path: model\n      md5: "
        "0123456789abcdef0123456789abcdef\n"
    )
    for length in range(len(text)):
        try:
            COMPILED_LOCKFILE_SCHEMA(parse_yaml(text[:length], "dvc.lock"))
        except (Invalid, ParseError):
            with pytest.raises(DataError):
                dvc_lock.parse(text[:length].encode(), "dvc.lock")
    assert ["train"] == list(dvc_lock.parse(text.encode(), "dvc.lock"))


def test_a_lock_in_conflict_is_for_its_user_to_settle(root):
    (root / "dvc.lock").write_text(f"<<<<<<< HEAD\n{LOCK}=======\n{LOCK}>>>>>>> other\n", encoding="utf-8")

    assert [] == dvc_state.heal(root)


def test_nothing_is_touched_while_a_dvc_runs_here(root):
    """While a stage runs it holds no lock, so its process is looked for."""
    (root / LEFTOVER).touch()
    running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "dvc"], cwd=root)
    try:
        lines = dvc_state.heal(root)
    finally:
        running.kill()
        running.wait()

    assert [f"DVC is running in this folder (process {running.pid}): what an earlier run left behind stays"] == lines
    assert (root / LEFTOVER).exists()


@pytest.mark.parametrize("name", ["lock", "rwlock.lock"])
def test_nothing_is_touched_while_a_dvc_holds_a_lock(root, name):
    (root / ".dvc/tmp/rwlock").touch()
    code = "import sys, time, zc.lockfile; held = zc.lockfile.LockFile(sys.argv[1]); print(flush=True); time.sleep(600)"
    command = [sys.executable, "-c", code, str(root / ".dvc/tmp" / name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        lines = dvc_state.heal(root)
        holder.kill()

    assert ["DVC is running in this folder: what an earlier run left behind stays"] == lines
    assert (root / ".dvc/tmp/rwlock").exists()
