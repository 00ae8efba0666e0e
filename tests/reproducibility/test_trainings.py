"""Many trainings of copies of a project: each has its own parameters, and the project stays as it is."""

import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from segline.core.errors import PipelineError
from segline.reproducibility import dvc_lock, trainings
from segline.reproducibility.trainings import Training
from segline.scheduling import places

pytestmark = pytest.mark.slow

FILES = {
    "dvc.yaml": "stages: {train: {cmd: cp params.yaml model.txt, deps: [input.txt], outs: [model.txt]}}\n",
    "params.yaml": "{train: {seed: 1, epochs: 2}, other: a}\n",
    "input.txt": "input\n",
    "segline/code.py": "",
    "stages/train.py": "",
}


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A project whose only stage copies the parameters."""
    root = tmp_path / "project"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for arguments in (["init", "--quiet", "--no-scm"], ["repro", "--quiet"]):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return root


def training(root: Path, name: str, command: str | None = None, **changes: object) -> Training:
    locked = dvc_lock.stages(root)
    stage = locked["train"]
    stage = dvc_lock.Stage(stage.name, command or stage.command, stage.inputs, stage.outputs)
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return Training(name, root, dvc_lock.Store(root, locked), [stage], dotted, [Path("model.txt")])


@pytest.mark.parametrize("workers", ["1", "3"])
def test_each_has_its_own_parameters_and_the_rest_of_the_projects(root, tmp_path, monkeypatch, workers):
    monkeypatch.setenv(places.WORKERS, workers)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    jobs = [training(root, f"seed {seed}", train__seed=seed) for seed in (5, 6, 7)]
    with closing(trainings.run(jobs)) as ended:
        learnt = {each.training.name: each.files[Path("model.txt")].decode() for each in ended}

    assert {f"seed {n}": f'{{"train": {{"seed": {n}, "epochs": 2}}, "other": "a"}}' for n in (5, 6, 7)} == learnt
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert [] == list((tmp_path / "temporary").iterdir())


def test_one_that_fails_is_named_and_leaves_no_copy(root, tmp_path, monkeypatch):
    monkeypatch.setenv(places.WORKERS, "2")
    jobs = [training(root, "fold 1", "sleep 600"), training(root, "fold 2", "echo no luck; exit 3")]
    with pytest.raises(PipelineError, match=r"^fold 2: train: .* ended with exit code 3 .* It said: no luck$"):
        list(trainings.run(jobs))

    assert [] == list((tmp_path / "temporary").iterdir())


def test_the_processes_of_a_training_compute_alone(root, monkeypatch):
    """Several trainings of several workers each would be too many."""
    monkeypatch.setenv(places.WORKERS, "2")
    [ended] = trainings.run([training(root, "alone", 'echo "$SEGLINE_WORKERS" > model.txt')])

    assert b"1\n" == ended.files[Path("model.txt")]


def test_a_change_of_a_section_that_is_not_there_is_refused(root):
    with pytest.raises(PipelineError, match=r"^x: params.yaml: nothing: missing"):
        list(trainings.run([training(root, "x", nothing__seed=1)]))
