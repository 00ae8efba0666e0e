"""`segline promote` on a real SQLite registry: an alias moves to what the gate lets pass, and to nothing else."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segline.__main__ import main
from segline.monitoring import mlflow_registry
from tests.gate import sides

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TRUE = sides.truth(24)
# The versions of `streets`, and how often each model is right.
RATES = {1: 0.85, 2: 0.95, 3: 0.853}
UNEVALUATED, BY_HAND, OTHER_RUN, OTHER_IMAGES, BROKEN = 4, 5, 6, 7, 8


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all versions, and no alias."""
    import mlflow

    root = tmp_path_factory.mktemp("registry")
    client = mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    home = client.create_experiment("segline", artifact_location=(root / "mlruns").as_uri())
    client.create_registered_model("streets")
    for version in range(1, 9):
        model = f"{version}" * 64
        tagged = "f" * 64 if version == OTHER_RUN else model
        run = client.create_run(home, tags={"model.sha256": tagged}).info.run_id
        if version != UNEVALUATED:
            true = sides.truth(25) if version == OTHER_IMAGES else TRUE
            folder = sides.save(root / str(version), right(version, true))
            if version == BROKEN:
                (folder / "eval.json").write_text("{}")
            client.log_artifacts(run, str(folder))
        tags = {} if version == BY_HAND else {"model.sha256": model}
        client.create_model_version("streets", f"runs:/{run}/none", run, tags=tags)
    return root / "mlflow.db"


def right(version: int, true: np.ndarray) -> Any:
    return sides.predicted(true, RATES.get(version, 0.85), version)


class Registry:
    """A copy of the template, and a working tree with rules."""

    def __init__(self, root: Path) -> None:
        import mlflow

        self.root = root
        self.client = mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")

    def alias(self, name: str = "champion") -> str | None:
        found = self.client.get_registered_model("streets").aliases.get(name)
        return None if found is None else str(found)

    def set(self, version: int, name: str = "champion") -> None:
        self.client.set_registered_model_alias("streets", name, str(version))


@pytest.fixture
def registry(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """MLflow is asked in this process: its import takes seconds, and test_mlflow_registry shows the way through."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mlflow_registry, "_output", lambda _, question: json.dumps(mlflow_registry.answer(**question)))
    shutil.copy(template, tmp_path / "mlflow.db")
    (tmp_path / "gate.yaml").write_text(sides.RULES)
    return Registry(tmp_path)


def promote(*arguments: str) -> int:
    return main(["promote", *arguments])


def test_the_first_champion_is_not_judged(registry, capsys):
    assert 0 == promote("streets", "--version", "1")
    assert "1" == registry.alias()
    said = "promote: streets@champion is version 1 now, the first: there was none to compare with\n"
    assert said == capsys.readouterr().out


def test_a_version_that_passes_becomes_champion(registry, capsys):
    registry.set(1)

    assert 0 == promote("streets", "--version", "2")
    assert "2" == registry.alias()
    said = capsys.readouterr().out
    assert said.startswith("Gate: PASS against streets version 1\n")
    assert said.endswith("promote: streets@champion is version 2 now, no longer 1\n")


def test_a_regression_is_refused(registry, capsys):
    registry.set(2)

    assert 1 == promote("streets", "--version", "1")
    assert "2" == registry.alias()
    said = capsys.readouterr().out
    assert said.startswith("Gate: REGRESSION against streets version 2\n")
    assert said.endswith("promote: streets@champion stays version 2\n")


def test_an_inconclusive_result_moves_nothing(registry, capsys):
    registry.set(1)
    (registry.root / "metrics").mkdir()
    sides.write_noise(registry.root / "metrics/noise.json", sides.protocol(sides.predicted(TRUE, 0.85)), 0.05)

    assert 2 == promote("streets", "--version", "3")
    assert "1" == registry.alias()
    said = capsys.readouterr().out
    assert "Gate: INCONCLUSIVE against streets version 1: no regression shown, none ruled out" in said
    assert said.endswith("promote: streets@champion stays version 1\n")


def test_the_champion_itself_is_not_judged_again(registry, capsys):
    registry.set(2)

    assert 0 == promote("streets", "--version", "2")
    assert "promote: streets@champion is version 2 already\n" == capsys.readouterr().out


def test_each_alias_has_its_own_champion_and_without_a_version_the_newest_is_meant(registry, capsys):
    registry.set(2)
    for version in (4, 5, 6, 7, 8):
        registry.client.delete_model_version("streets", str(version))

    assert 0 == promote("streets", "--alias", "shadow")
    assert ("2", "3") == (registry.alias(), registry.alias("shadow"))
    assert 1 == promote("streets")
    assert "2" == registry.alias()


REFUSED = {
    "unknown name": (["roads"], "roads: no version is registered under this name. Registered are: streets."),
    "unknown version": (["streets", "--version", "9"], "streets version 9: no such version. There are 1, 2, 3, 4, 5"),
    "not evaluated": (["streets", "--version", "4"], "has no eval.json. Evaluate the model with tracking on"),
    "no hash": (["streets", "--version", "5"], "streets version 5: no tag model.sha256, so nothing ties scores to it"),
    "run of another model": (["streets", "--version", "6"], "streets version 6: its run"),
    "other images": (["streets", "--version", "7"], "streets version 1 and streets version 7"),
    "a reserved alias": (["streets", "--version", "1", "--alias", "latest"], "--alias: "),
    "no name": ([""], "NAME: expected letters"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_judged_moves_nothing(registry, capsys, kind):
    registry.set(1)
    arguments, problem = REFUSED[kind]

    assert 2 == promote(*arguments)
    assert problem in capsys.readouterr().err
    assert {"champion": "1"} == {
        name: str(v) for name, v in registry.client.get_registered_model("streets").aliases.items()
    }


@pytest.mark.parametrize("champion", [4, 5, 6])
def test_a_champion_without_scores_of_its_own_cannot_be_compared_with(registry, capsys, champion):
    registry.set(champion)

    assert 2 == promote("streets", "--version", "2")
    assert f"streets version {champion}: " in capsys.readouterr().err
    assert str(champion) == registry.alias()


def test_the_scores_of_a_first_champion_must_be_sound(registry, capsys):
    assert 2 == promote("streets", "--version", "8")
    assert "streets version 8: eval.json: protocol: expected an object of strings" in capsys.readouterr().err
    assert registry.alias() is None


def test_an_alias_that_moved_meanwhile_stays(registry, capsys, monkeypatch):
    registry.set(1)
    ask = mlflow_registry.sides

    def asked_then_moved(*arguments: Any) -> Any:
        found = ask(*arguments)
        registry.set(3)
        return found

    monkeypatch.setattr(mlflow_registry, "sides", asked_then_moved)

    assert 2 == promote("streets", "--version", "2")
    assert "streets@champion: meanwhile moved to version 3. Run it again." in capsys.readouterr().err
    assert "3" == registry.alias()


def test_without_rules_nothing_is_judged(registry, capsys):
    registry.set(1)
    (registry.root / "gate.yaml").unlink()

    assert 2 == promote("streets", "--version", "2")
    assert "gate.yaml" in capsys.readouterr().err
    assert "1" == registry.alias()
