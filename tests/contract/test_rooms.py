"""What each room may know: its tier, and the third-party packages it may import.

Imports only go down: a module may import modules of lower tiers, and those of its own tier that its row names.
"""

import subprocess
import sys

import pytest

from tests.contract.closure import ROOT, closure, modules, own_imports, third_party

# room: (tier, third party, rooms of the same tier it may import)
ROOMS: dict[str, tuple[int, set[str], set[str]]] = {
    "segline.errors": (0, set(), set()),
    "segline.atomic": (0, set(), set()),
    "segline.params": (1, {"yaml", "pydantic"}, set()),
    "segline.choice": (1, set(), set()),
    "segline.dataset": (1, set(), set()),
    "segline.encode": (1, {"numpy"}, set()),
    "segline.confusion": (1, {"numpy"}, set()),
    "segline.losses": (1, {"torch"}, set()),
    "segline.networks.blocks": (1, {"torch"}, set()),
    "segline.networks.unet": (1, {"torch", "pydantic"}, {"segline.networks.blocks", "segline.params"}),
    "segline.records": (1, set(), set()),
    "segline.randomness": (1, {"numpy", "torch"}, set()),
    "segline.device": (1, {"torch"}, set()),
    "segline.cli": (2, {"tqdm"}, set()),
}


def allowed_imports(room: str) -> set[str]:
    tier, _, beside = ROOMS[room]
    return {name for name, (other, *_) in ROOMS.items() if other < tier} | beside


def standard_library() -> set[str]:
    return set(sys.stdlib_module_names)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_what_its_row_allows(room):
    known = modules()

    assert own_imports(room, known) <= allowed_imports(room)
    assert third_party(room, known) - standard_library() <= ROOMS[room][1]


def test_every_module_has_a_row():
    assert sorted(modules_of_the_package()) == sorted(ROOMS)


def modules_of_the_package() -> set[str]:
    return {name for name in modules() if name.startswith("segline.")}


def test_no_stage_imports_a_stage():
    known = modules()
    for stage in (name for name in known if name.startswith("stages.")):
        assert {stage} == {name for name in closure(stage, known) if name.startswith("stages.")}


@pytest.mark.parametrize("bag", ["utils", "helpers", "common", "misc", "base", "manager"])
def test_no_module_is_a_bag(bag):
    assert not [name for name in modules() if name.split(".")[-1] == bag]


def test_a_planted_import_is_caught(tmp_path):
    """The meta-test: a room that reaches up, or takes a package it may not know, fails."""
    known = dict(modules())
    known["segline.encode"] = tmp_path / "encode.py"
    known["segline.encode"].write_text("import torch\nfrom segline import images\n")

    assert not own_imports("segline.encode", known) <= allowed_imports("segline.encode")
    assert not third_party("segline.encode", known) - standard_library() <= ROOMS["segline.encode"][1]


@pytest.mark.parametrize("module", ["stages.download", "stages.preprocess", "stages.plot", "segline.images"])
def test_what_needs_no_tensors_imports_neither_torch_nor_mlflow(module):
    code = f"import sys, {module}; print({{'torch', 'mlflow', 'matplotlib'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("module", sorted(modules()))
def test_importing_a_module_prints_nothing_and_touches_no_file(module, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}"
    command = [sys.executable, "-B", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []
