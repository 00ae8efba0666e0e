"""dvc.yaml names every file a stage's result depends on: proven from the import closure.

DVC does not follow imports (its issue 9195), so a module missing from `deps` would be a silent stale result. It names
folders, so an edit of a file that the stage does not import costs a rerun that gives equal bytes: those are in a table.
"""

import itertools
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from segline.core import params, plugins
from tests.contract.closure import ROOT, closure, modules

# Not dependencies, because outputs do not depend on them; tests/e2e/test_outputs.py and tests/cluster show it.
EXEMPT = frozenset(name for name in modules() if name.startswith(("segline.monitoring.", "segline.scheduling.")))
# Files of a declared folder that the stage does not import.
NOT_IMPORTED = {
    "download": {"core/git", "core/pipeline", "core/records", "core/seal"},
    "preprocess": {
        "core/git",
        "core/pipeline",
        "core/plugins",
        "core/records",
        "dataset/history",
        "preprocessing/image_files/png",
    },
    "train": {"core/git", "model/receptive_field", "model/stitching"},
    "evaluate": {
        "core/git",
        "core/pipeline",
        "dataset/history",
        "preprocessing/all_pairs",
        "preprocessing/audit",
        "preprocessing/chunks",
        "preprocessing/class_table",
        "preprocessing/image_files/png",
        "preprocessing/levels",
        "preprocessing/object_borders",
        "preprocessing/object_numbers",
        "preprocessing/pairs",
        "preprocessing/palettes",
        "preprocessing/percentiles",
        "preprocessing/pixels_seen",
        "preprocessing/split_writer",
    },
    "plot": {"core/git", "core/pipeline", "core/plugins"},
}
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = sorted(PIPELINE["stages"])


def names(entries: list[Any]) -> list[str]:
    """Paths of a dvc.yaml list, whose entries may carry options."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def outputs(stage: str) -> list[str]:
    return [path for kind in ("outs", "metrics", "plots") for path in names(PIPELINE["stages"][stage].get(kind, []))]


def declared(stage: str) -> list[str]:
    return names(PIPELINE["stages"][stage]["deps"])


@dataclass(frozen=True)
class Choice:
    """One way to fill the templates of dvc.yaml: a source with its input, and a network."""

    source: str
    input: str
    network: str

    def fill(self, path: str) -> str:
        texts = {"data.source": self.source, "data.input": self.input, "model.name": self.network}
        for key, text in texts.items():
            path = path.replace(f"${{{key}}}", text)
        return path

    def picked(self) -> dict[str, str]:
        """The modules that a stage loads by name, by the package they are picked from."""
        return {
            "segline.sources": f"segline.sources.{self.source}",
            "segline.networks": f"segline.networks.{self.network}",
        }


def inputs() -> dict[str, str]:
    """What each source starts from, as the presets say; a folder of the user's for one without a preset."""
    presets = [params.load(path) for path in sorted((ROOT / "presets").glob("*.yaml"))]
    known = {params.text(preset, "data.source"): params.text(preset, "data.input") for preset in presets}
    return dict.fromkeys(plugins.names("segline.sources"), "data/mine") | known


CHOICES = [
    Choice(source, inputs()[source], network)
    for source, network in itertools.product(plugins.names("segline.sources"), plugins.names("segline.networks"))
]


def code_declared(stage: str, chosen: Choice, known: dict[str, Path]) -> set[str]:
    """The Python files a stage depends on under a choice, those of a declared folder included."""
    paths = {chosen.fill(path) for path in declared(stage)}
    files = {path.relative_to(ROOT).as_posix() for path in known.values()}
    return {file for file in files if any(file == path or file.startswith(f"{path}/") for path in paths)}


def code_needed(stage: str, chosen: Choice, known: dict[str, Path]) -> set[str]:
    """The Python files a stage imports under a choice, the modules it picks by name included."""
    found = closure(f"stages.{stage}", known, EXEMPT)
    for package, module in chosen.picked().items():
        if any(f'"{package}"' in known[name].read_text(encoding="utf-8") for name in found):
            found = found | closure(module, known, EXEMPT)
    return {known[name].relative_to(ROOT).as_posix() for name in found}


@pytest.mark.parametrize("chosen", CHOICES, ids=str)
@pytest.mark.parametrize("stage", STAGES)
def test_every_file_a_stage_imports_is_declared(stage, chosen):
    known = modules()

    assert set() == code_needed(stage, chosen, known) - code_declared(stage, chosen, known)


@pytest.mark.parametrize("stage", STAGES)
def test_every_file_a_stage_declares_is_imported_or_in_the_table(stage):
    """Under some choice: dvc.yaml can template the source that is picked, not what only that source imports."""
    known = modules()
    needed = {file for chosen in CHOICES for file in code_needed(stage, chosen, known)}
    found = {file for chosen in CHOICES for file in code_declared(stage, chosen, known)}

    assert {f"segline/{name}.py" for name in NOT_IMPORTED[stage]} == found - needed


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_nothing_twice(stage):
    assert sorted(set(declared(stage))) == sorted(declared(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_every_path_of_a_command_is_a_dependency_or_an_output_and_conversely(stage):
    words = shlex.split(PIPELINE["stages"][stage]["cmd"])
    arguments = words[3:]
    given = set(arguments[1::2])
    data = {path for path in declared(stage) if not path.startswith(("stages/", "segline/"))}
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
