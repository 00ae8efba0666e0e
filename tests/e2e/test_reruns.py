"""DVC marks exactly the stages of the hand-written table (reruns.py) as directly changed, whatever is changed."""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from segline.core import plugins
from tests.e2e import reruns
from tests.e2e.project import Project, leaves, overlaid, tiny_parameters, working_files

pytestmark = pytest.mark.slow

PARAMETERS = tiny_parameters()
LEAVES = leaves(PARAMETERS)
OTHER = {"data.input": "segline/sources/camvid.sha256", "evaluate.split": "val", "data.source": "camvid"}
# The folder that DVC watches as one dependency: it names the folder, and not the file in it that differs.
WATCHED = PARAMETERS["data"]["input"]
IN_WATCHED = [name for name in working_files() if name.startswith(f"{WATCHED}/")]
# Files that say what to run, not what with: each has a test of its own, or is made by DVC.
SPECIAL = {"params.yaml", "dvc.yaml", "dvc.lock"}


@pytest.fixture(scope="module")
def project(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One for all tests here: each puts back what it changed."""
    return reproduced.copy(tmp_path_factory.mktemp("reruns") / "my pr\u00f6ject")


def another(key: str, value: object) -> object:
    """A value that differs from this one."""
    if key in OTHER:
        return OTHER[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}x" if isinstance(value, str) else ["other"]


def test_nothing_is_changed_after_a_run(project):
    assert set() == project.changed()


def rounds(changes: Mapping[str, Collection[str]]) -> list[list[str]]:
    """The changes in few rounds: no two in one round are of the same thing, by which DVC will name them."""
    found: list[tuple[list[str], set[str]]] = []
    for change, things in changes.items():
        for members, taken in found:
            if taken.isdisjoint(things):
                members.append(change)
                taken.update(things)
                break
        else:
            found.append(([change], set(things)))
    return [members for members, _ in found]


def causes(project: Project) -> dict[str, set[str]]:
    """Stage -> what `dvc status` names as changed in it: keys of params.yaml, files and folders."""
    named: dict[str, set[str]] = {}
    for stage, listed in project.dvc_json("status", "--json").items():
        entries = {
            name: what
            for cause in listed
            if isinstance(cause, dict)
            for each in cause.values()
            for name, what in each.items()
        }
        keys = entries.pop("params.yaml", {})
        named[stage] = {*entries, *keys}
    return named


def stages_named(named: Mapping[str, set[str]], change: str, separator: str) -> set[str]:
    """The stages in which the changed thing is `change`, or what holds it."""
    return {
        stage
        for stage, things in named.items()
        if any(f"{change}{separator}".startswith(f"{thing}{separator}") for thing in things)
    }


# Keys of what is not chosen are changed at once, those that choose other keys one by one.
UNUSED = [key for key in sorted(LEAVES) if not reruns.of_leaf(key)]
CHOICES = ("data.source", "model.name")
USED = {key: [key.split(".")[0]] for key in sorted(LEAVES) if key not in (*UNUSED, *CHOICES)}


@pytest.mark.parametrize("keys", [UNUSED, *([key] for key in CHOICES), *rounds(USED)], ids=lambda keys: keys[0])
def test_parameters_change_the_stages_of_the_table(project, keys):
    """One of each section at a time: DVC names the section, under each stage."""
    project.write_parameters(overlaid(PARAMETERS, {key: another(key, LEAVES[key]) for key in keys}))
    named = causes(project)
    project.write_parameters(PARAMETERS)

    expected = {key: reruns.of_leaf(key) for key in keys}
    assert expected == {key: stages_named(named, key, ".") for key in keys}
    assert set().union(*expected.values()) == named.keys()


def test_every_parameter_of_every_committed_file_is_tried():
    """params.yaml and the presets hold no key that the test above does not change.

    But for the keys of other forms of a section whose form it changes.
    """
    others = {
        *(f"preprocess.{key}" for key in ("intensity.low", "intensity.high", "objects.classes", "objects.border")),
        *(f"evaluate.objects.{key}" for key in ("smallest", "seed")),
    }
    files = [reruns.ROOT / "params.yaml", *(reruns.ROOT / "presets").glob("*.yaml")]
    known = {key for file in files for key in leaves(yaml.safe_load(file.read_text(encoding="utf-8")))}

    assert others == known - LEAVES.keys()


def test_every_pattern_of_the_table_stands_for_a_parameter():
    used = {next(pattern for pattern in reruns.LEAVES if fnmatchcase(key, pattern)) for key in LEAVES}
    expected = set(reruns.LEAVES)
    if plugins.names("segline.networks") == [reruns.CHOSEN["model.name"]]:
        expected -= {"model.*"}  # there is no network that is not chosen

    assert expected == used


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("0.003", "3e-3", id="another way to write a number"),
        pytest.param("train:\n", "train:  # a comment\n\n", id="a comment"),
        pytest.param("  seed: 1\n  epochs: 2\n", "  epochs: 2\n  seed: 1\n", id="the order of keys"),
        pytest.param("name: unet", "name: 'unet'", id="quotes"),
    ],
)
def test_the_way_parameters_are_written_changes_nothing(project, before, after):
    content = project.read("params.yaml")
    assert before in content
    project.write("params.yaml", content.replace(before, after))
    changed = project.changed()
    project.write_parameters(PARAMETERS)

    assert set() == changed


CODE = [name for name in working_files() if name.startswith(("segline/", "stages/"))]


def test_every_file_of_code_has_its_place_in_the_table():
    assert all(reruns.of_code(name) <= set(reruns.STAGES) for name in CODE)


def test_every_place_of_the_table_holds_code():
    places = [place for listed in reruns.CODE.values() for place in listed.split()]

    assert [] == [place for place in places if not any(Path(place) in (Path(n), *Path(n).parents) for n in CODE)]


def test_a_file_changes_the_stages_of_the_table(project):
    """Every text file is edited at once: DVC names the dependencies that it finds modified, each under its stages.

    Of a folder it names the folder; the next test has one file of each.
    """
    content = {name: (project.root / name).read_bytes() for name in project.git("ls-files", "-z").split("\0") if name}
    edited = {
        name: text
        for name, text in content.items()
        if name not in SPECIAL and b"\0" not in text and not name.startswith("metrics/")
    }
    for name, text in edited.items():
        (project.root / name).write_bytes(text + b"\n")
    named = causes(project)
    for name, text in edited.items():
        (project.root / name).write_bytes(text)

    found = {name: stages_named(named, name, "/") for name in edited}
    assert found.keys() >= set(CODE)
    assert {name: reruns.of_code(name) if name in CODE else set() for name in edited} == found


DEPS = {dep for stage in reruns.pipeline().values() for dep in stage["deps"]}
FOLDERS = sorted(dep for dep in DEPS if dep.startswith("segline/") and (reruns.ROOT / dep).is_dir())
ONE_OF_EACH = {max(name for name in CODE if name.startswith(f"{folder}/")) for folder in FOLDERS}
WITHIN = {name: [folder for folder in FOLDERS if name.startswith(f"{folder}/")] for name in sorted(ONE_OF_EACH)}


@pytest.mark.parametrize("names", rounds(WITHIN), ids=lambda names: names[0])
def test_one_file_of_a_folder_changes_what_the_folder_does(project, names):
    """Of folders that do not lie in each other, one file each."""
    content = {name: project.read(name) for name in names}
    for name in names:
        project.append(name, "\n")
    named = causes(project)
    for name, text in content.items():
        project.write(name, text)

    expected = {name: reruns.of_code(name) for name in names}
    assert expected == {name: stages_named(named, name, "/") for name in names}
    assert set().union(*expected.values()) == named.keys()


def test_there_is_a_watched_folder():
    """Else the tests of its files would try nothing."""
    assert (reruns.ROOT / WATCHED).is_dir()
    assert IN_WATCHED


@pytest.mark.parametrize("name", IN_WATCHED)
def test_a_file_of_the_watched_folder_changes_the_stages_of_the_table(project, name):
    content = project.read(name)
    project.append(name, "\n")
    changed = project.changed()
    project.write(name, content)

    assert reruns.of_code(name) == changed


def test_a_file_more_or_less_in_the_watched_folder_changes_what_its_files_do(project):
    first = project.root / IN_WATCHED[-1]
    found = []
    for source, target in ((first, first.with_name("new.py")), (first.with_name("new.py"), first)):
        source.rename(target)
        found.append(project.changed())

    assert [reruns.of_code(IN_WATCHED[-1]), set()] == found


OUTPUTS = [path for stage in reruns.pipeline().values() for path in reruns.outputs(stage)]
WRITTEN = {path: [out for out in OUTPUTS if f"{path}/".startswith(f"{out}/")] for path in reruns.ARTEFACTS}


@pytest.mark.parametrize("paths", rounds(WRITTEN), ids=lambda paths: paths[0])
def test_data_and_results_change_the_stages_of_the_table(project, paths):
    """One file of each output at a time: DVC names the output, and the folders of it that a stage reads."""
    content = {path: (project.root / path).read_bytes() for path in paths}
    for path, before in content.items():
        (project.root / path).write_bytes(before + b"\n")
    named = causes(project)
    for path, before in content.items():
        (project.root / path).write_bytes(before)

    expected = {path: reruns.of_artefact(path) for path in paths}
    assert expected == {path: stages_named(named, path, "/") for path in paths}
    assert set().union(*expected.values()) == named.keys()


def test_every_output_has_its_place_in_the_table(project):
    """Every output of dvc.yaml; of the pictures one stands for all."""
    made = {out for out in project.locked() if not out.startswith("metrics/plots/") or out.endswith("sheet.png")}

    assert made == {next((o for o in made if Path(o) in (Path(a), *Path(a).parents)), a) for a in reruns.ARTEFACTS}


def test_another_command_changes_its_stage(project):
    content = project.read("dvc.yaml")
    project.write("dvc.yaml", content.replace("python -m stages.", "python -X utf8 -m stages."))
    status = project.dvc_json("status", "--json")
    project.write("dvc.yaml", content)

    assert {stage: ["changed command"] for stage in reruns.STAGES} == status


def test_compiled_python_and_half_written_outputs_change_nothing(project):
    """Runs leave `__pycache__` behind, and a crash leaves a partial file: neither is data."""
    compiled = list((project.root / "segline").rglob("__pycache__/*.pyc"))
    assert compiled
    others = ["data/raw/__pycache__/x.pyc", f"{WATCHED}/__pycache__/x.pyc", "data/raw/train/.x.png.partial"]
    extra = [*compiled, *(project.root / name for name in others)]
    for file in extra:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"other")
    changed = project.changed()
    for file in extra:
        file.unlink()

    assert set() == changed
