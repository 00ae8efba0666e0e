"""What `segline restore` prints and what it never touches. How it follows a run: tests/e2e/test_failures.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from segline.__main__ import main
from segline.core.errors import DataError
from segline.reproducibility import dvc_lock, restore

LOCK = """\
schema: '2.0'
stages:
  train:
    cmd: train
    outs:
    - path: model.bin
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 3
"""


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A fresh clone: a lock file and an empty cache."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    root = tmp_path / "clone"
    write(root / ".dvc/config", "[core]\n    no_scm = True\n")  # as `dvc init --no-scm` leaves it
    (root / "dvc.yaml").write_text("stages: {train: {cmd: train, outs: [model.bin]}}\n", encoding="utf-8")
    (root / "dvc.lock").write_text(LOCK, encoding="utf-8")
    return root


def dvc(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, capture_output=True)


def refusal(root: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        restore.restore(root)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.slow
def test_without_a_cache_it_names_the_commands_that_bring_outputs(clone):
    """`dvc pull` only if there is a remote to pull from."""
    alone = refusal(clone)
    dvc(clone, "remote", "add", "--default", "store", str(clone.parent / "store"))
    shared = refusal(clone)

    assert "not in the cache: model.bin" == alone.problem == shared.problem
    assert "Run `make repro` to rebuild them from params.yaml, which is left as it is." == alone.remedy
    assert "Run `dvc pull` to fetch them, or `make repro` to rebuild them from params.yaml" in shared.remedy


def test_a_conflicted_lock_is_one_line_that_says_how_to_resolve_it(tmp_path):
    (tmp_path / "dvc.lock").write_text(f"<<<<<<< HEAD\n{LOCK}=======\n{LOCK}>>>>>>> other\n", encoding="utf-8")

    assert (
        f"{tmp_path}/dvc.lock: contains an unresolved merge conflict. "
        "Take one side (git checkout --ours dvc.lock, or --theirs), then run again."
    ) == str(refusal(tmp_path))


@pytest.mark.parametrize("content", ["", "stages: 3\n", "just text\n", "a: [\n", "\ufffe"])
def test_a_broken_lock_is_one_line(tmp_path, content):
    (tmp_path / "dvc.lock").write_text(content, encoding="utf-16" if content == "\ufffe" else "utf-8")

    assert "not a DVC lock file" == refusal(tmp_path).problem


def test_a_project_without_a_lock_has_nothing_to_restore(tmp_path):
    assert "missing: nothing has been produced here yet" == refusal(tmp_path).problem


@pytest.fixture
def project(clone):
    """A project whose lock file names a file, a folder and a metric, which are all in the cache and only there."""
    write(clone / "data/a", "a")
    write(clone / "data/sub/b", "b")
    write(clone / "model.bin", "model")
    write(clone / "eval.json", "scores")
    lock_outputs(clone, "data", "model.bin", "eval.json")
    for path in ("data/a", "data/sub/b", "model.bin", "eval.json"):
        write(cached(clone, dvc_lock.md5(clone / path)), (clone / path).read_text(encoding="utf-8"))
        (clone / path).unlink()
    (clone / "data/sub").rmdir()
    (clone / "data").rmdir()
    return clone


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def cached(root: Path, md5: str) -> Path:
    return root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def lock_outputs(root: Path, *paths: str) -> None:
    """Writes dvc.lock, and a folder's list into the cache."""
    entries = "".join(f"    - path: {path}\n      md5: {dvc_lock.md5(root / path)}\n" for path in paths)
    write(root / "dvc.lock", f"stages:\n  train:\n    cmd: train\n    outs:\n{entries}")
    for folder in (root / path for path in paths if (root / path).is_dir()):
        files = sorted(dvc_lock.contents(folder).items())
        listed = ", ".join(f'{{"md5": "{md5}", "relpath": "{name}"}}' for name, md5 in files)
        write(cached(root, dvc_lock.md5(folder)), f"[{listed}]")


def texts(root: Path) -> dict[str, str]:
    paths = [root / "model.bin", root / "eval.json", *(root / "data").rglob("*")]
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in paths if path.is_file()}


GOOD = {"model.bin": "model", "eval.json": "scores", "data/a": "a", "data/sub/b": "b"}


def test_what_differs_is_replaced_by_what_the_cache_has(project):
    """For a folder its contents count, not only its existence."""
    write(project / "model.bin", "edited")
    write(project / "data/a", "edited")
    write(project / "data/extra", "of no complete run")

    assert {Path("data"), Path("model.bin"), Path("eval.json")} == set(restore.restore(project))
    assert texts(project) == GOOD
    assert [] == restore.restore(project)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gone", "lost", "left"),
    [
        ("model", "model.bin", {"model.bin": "edited"}),
        ("b", "data", {"data/a": "edited", "data/sub/b": "edited"}),
        ("scores", "eval.json", {"eval.json": "edited"}),
    ],
)
def test_what_cannot_be_replaced_is_left_as_it_is(project, gone, lost, left):
    """Everything else is restored."""
    cached(project, dvc_lock.md5_of(gone.encode())).unlink()
    for path in GOOD:
        write(project / path, "edited")

    assert f"not in the cache: {lost}" == refusal(project).problem
    assert GOOD | left == texts(project)


def test_a_folder_whose_list_is_lost_is_left_as_it_is(project):
    listed = dvc_lock.outputs(dvc_lock.stages(project))["data"]
    cached(project, listed).unlink()
    write(project / "data/a", "edited")

    assert "not in the cache: data" == refusal(project).problem
    assert "edited" == texts(project)["data/a"]


def test_files_that_the_cache_lacks_are_kept_from_the_folder(project):
    write(project / "data/a", "a")
    write(project / "data/sub/b", "edited")
    cached(project, dvc_lock.md5_of(b"a")).unlink()
    restore.restore(project)

    assert GOOD == texts(project)


MIXED = """\
stages:
  preprocess:
    cmd: preprocess
    outs:
    - {path: data, md5: 'DATA'}
  train:
    cmd: train
    deps:
    - {path: data/sub, md5: 'SUB'}
    outs:
    - {path: model.bin, md5: '22222222222222222222222222222222'}
  evaluate:
    cmd: evaluate
    deps:
    - {path: code.py, md5: '00000000000000000000000000000000'}
    - {path: model.bin, md5: 'MODEL'}
    outs:
    - {path: eval.json, md5: '33333333333333333333333333333333'}
"""
OLD = "1" * 32


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "sub", "expected"),
    [
        ("2" * 32, None, []),
        (OLD, None, ["eval.json: made from an earlier model.bin; run `make repro`"]),
        ("2" * 32, f"{OLD}.dir", ["model.bin: made from an earlier data/sub; run `make repro`"]),
        (OLD, f"{OLD}.dir", ["model.bin, eval.json: made from an earlier data/sub, model.bin; run `make repro`"]),
    ],
)
def test_results_older_than_what_they_come_from_are_doubted(project, model, sub, expected):
    data = dvc_lock.outputs(dvc_lock.stages(project))["data"]
    write(project / "one/b", "b")
    parts = {"DATA": data, "SUB": sub or dvc_lock.md5(project / "one"), "MODEL": model}
    text = MIXED
    for name, md5 in parts.items():
        text = text.replace(name, md5)
    write(project / "dvc.lock", text)

    assert expected == restore.doubts(project)


def test_the_command_warns_of_old_scores_beside_a_new_model(project, monkeypatch, capsys):
    """As when `train` succeeded and `evaluate` failed."""
    restore.restore(project)
    outputs = {path: md5 for path, md5 in dvc_lock.outputs(dvc_lock.stages(project)).items() if path != "eval.json"}
    (project / "model.bin").unlink()
    entries = "".join(f"    - {{path: {path}, md5: {md5}}}\n" for path, md5 in outputs.items())
    scores = dvc_lock.md5(project / "eval.json")
    write(
        project / "dvc.lock",
        f"stages:\n  train:\n    cmd: train\n    outs:\n{entries}"
        f"  evaluate:\n    cmd: evaluate\n    deps:\n    - {{path: model.bin, md5: {OLD}}}\n"
        f"    outs:\n    - {{path: eval.json, md5: {scores}}}\n",
    )
    monkeypatch.chdir(project)
    main(["restore"])
    told = capsys.readouterr()

    assert "restored model.bin\n" == told.out
    assert "warning: eval.json: made from an earlier model.bin; run `make repro`\n" == told.err


def test_the_command_says_so_if_nothing_is_missing(project, monkeypatch, capsys):
    restore.restore(project)
    monkeypatch.chdir(project)
    main(["restore"])

    assert "every output is there: nothing to restore\n" == capsys.readouterr().out
