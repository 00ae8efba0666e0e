"""dvc.yaml names every file a stage's result depends on, and no other: proven from the import closure.

DVC does not follow imports (its issue 9195), so a module missing from `deps` would be a silent stale result, and one
too many a needless rerun.
"""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from segline import choice
from tests.contract.closure import ROOT, closure, modules

# Not dependencies, because outputs do not depend on them; tests/e2e/test_outputs.py shows it.
EXEMPT = frozenset({"segline.cli", "segline.tracking", "segline.tracking_worker", "segline.tracking_store"})
PICKED = {"segline.sources": "data.source", "segline.networks": "model.name"}
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = sorted(PIPELINE["stages"])


def names(entries: list[Any]) -> list[str]:
    """Paths of a dvc.yaml list, whose entries may carry options."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def outputs(stage: str) -> list[str]:
    return [path for kind in ("outs", "metrics", "plots") for path in names(PIPELINE["stages"][stage].get(kind, []))]


def declared(stage: str) -> list[str]:
    return names(PIPELINE["stages"][stage]["deps"])


def code_needed(stage: str, known: dict[str, Path]) -> set[str]:
    """Files of the closure; a module that picks one of a package by name is written as dvc.yaml templates it."""
    found = closure(f"stages.{stage}", known, EXEMPT)
    files = {known[name].relative_to(ROOT).as_posix() for name in found}
    for package, key in PICKED.items():
        if picks(stage, package, found, known):
            folder = package.replace(".", "/")
            files |= {f"{folder}/${{{key}}}.py"} | shared_by(package, known)
    return files


def picks(stage: str, package: str, found: set[str], known: dict[str, Path]) -> bool:
    return any(f'"{package}"' in known[name].read_text(encoding="utf-8") for name in found)


def shared_by(package: str, known: dict[str, Path]) -> set[str]:
    """What the alternatives of a package import beyond themselves."""
    found: set[str] = set()
    for name in choice.names(package):
        found |= closure(f"{package}.{name}", known, EXEMPT) - {f"{package}.{name}"}
    return {known[name].relative_to(ROOT).as_posix() for name in found}


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_a_stage_declares_is_the_code_it_imports(stage):
    code = {path for path in declared(stage) if path.endswith(".py")}

    assert code_needed(stage, modules()) == code


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_nothing_twice(stage):
    assert sorted(set(declared(stage))) == sorted(declared(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_every_path_of_a_command_is_a_dependency_or_an_output_and_conversely(stage):
    words = shlex.split(PIPELINE["stages"][stage]["cmd"])
    arguments = words[3:]
    given = set(arguments[1::2])
    data = {path for path in declared(stage) if not path.endswith(".py")}
    made = set(outputs(stage))
    folder = "metrics/plots"
    if folder in given:
        pictures = {path for path in made if path.startswith(folder + "/")}
        assert pictures
        made = made - pictures | {folder}

    assert words[:3] == ["python", "-m", f"stages.{stage}"]
    assert all(name.startswith("--") for name in arguments[0::2])
    assert given == data | made


def test_outputs_kept_in_git_are_metrics_or_plots_so_that_the_run_cache_stays_on():
    for stage in STAGES:
        for entry in PIPELINE["stages"][stage].get("outs", []):
            assert isinstance(entry, str), f"{stage}: {entry} has options, which would switch the run-cache off"
        assert "always_changed" not in PIPELINE["stages"][stage]


def test_every_package_file_is_empty():
    packages = [path for name in ("segline", "stages") for path in (ROOT / name).rglob("__init__.py")]

    assert [] == [path for path in packages if path.stat().st_size]


def test_every_stage_says_what_it_does():
    assert all(PIPELINE["stages"][stage]["desc"].endswith(".") for stage in STAGES)


def test_this_test_sees_a_module_that_only_a_function_imports(tmp_path):
    """The meta-test: an import hidden in a function three modules away must be found."""
    sources = {"stages.x": "from segline import a", "segline.a": "import segline.b", "segline.b": ""}
    sources["segline.b"] = "def f():\n    from segline import hidden\n"
    known = {}
    for name, source in {**sources, "segline.hidden": "", "segline.other": ""}.items():
        known[name] = tmp_path / f"{name}.py"
        known[name].write_text(source)

    assert {"stages.x", "segline.a", "segline.b", "segline.hidden"} == closure("stages.x", known)
    assert {"stages.x", "segline.a"} == closure("stages.x", known, frozenset({"segline.b"}))
