"""What each room may know: its tier, and the third-party packages it may import.

Imports only go down: a module may import modules of lower tiers, and those of its own tier that its row names.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.contract.closure import ROOT, closure, modules, own_imports, third_party

STREETS = {"view", "objects", "scenery", "houses", "cars", "layout", "scene"}

# room: (tier, third party, rooms of the same tier it may import)
ROOMS: dict[str, tuple[int, set[str], set[str]]] = {
    "errors": (0, set(), set()),
    "atomic": (0, set(), set()),
    "params": (1, {"yaml", "pydantic"}, set()),
    "choice": (1, set(), set()),
    "records": (1, set(), set()),
    "history": (2, set(), set()),
    "cores": (1, set(), set()),
    "listing": (1, set(), set()),
    "foreign": (1, set(), set()),
    "dataset": (1, set(), set()),
    "containers": (1, set(), set()),
    "notation": (1, set(), set()),
    "lock": (1, {"yaml"}, set()),
    "encode": (1, {"numpy"}, set()),
    "confusion": (1, {"numpy"}, set()),
    "losses": (1, {"torch"}, set()),
    "heads": (1, {"torch"}, set()),
    "optimisation": (1, {"torch"}, set()),
    "state": (1, {"torch"}, set()),
    "balance": (1, {"numpy"}, set()),
    "randomness": (1, {"numpy", "torch"}, set()),
    "device": (1, {"psutil", "torch"}, set()),
    "pixels": (1, {"torch"}, set()),
    "networks.blocks": (1, {"numpy", "torch"}, set()),
    **{
        f"networks.{name}": (1, {"torch", "pydantic"}, {"networks.blocks", "params"})
        for name in ("unet", "fcn", "residual_unet", "small_unet", "unet_vgg16", "unet_mobilenet_v2")
    },
    "cli": (2, {"tqdm"}, set()),
    "tracking": (2, set(), {"cli"}),
    "tracking_store": (2, {"mlflow"}, set()),
    "tracking_worker": (2, set(), {"tracking_store"}),
    "fetch": (2, {"pooch", "requests", "tqdm", "urllib3"}, set()),
    "archive": (2, set(), {"cli"}),
    "complaints": (1, set(), set()),
    "copying": (2, set(), {"cli"}),
    "splitting": (2, {"pydantic"}, set()),
    "audit": (2, set(), set()),
    "classes": (2, set(), set()),
    "masks": (2, {"numpy"}, set()),
    "images": (2, {"cv2", "numpy"}, set()),
    "arrays": (2, {"numpy"}, set()),
    "checkpoint": (2, {"safetensors", "torch"}, set()),
    "pretrained": (2, {"safetensors", "torch"}, set()),
    "intervals": (2, {"numpy"}, set()),
    "drawing": (2, {"cv2", "numpy"}, set()),
    "presets": (2, set(), set()),
    "restore": (2, set(), set()),
    "difference": (2, {"cv2", "numpy", "safetensors", "torch"}, set()),
    "draws": (2, {"numpy", "pydantic"}, set()),
    "batches": (2, {"numpy", "torch"}, set()),
    "predict": (2, {"numpy", "torch"}, set()),
    "streets.view": (2, {"cv2", "numpy"}, set()),
    "streets.objects": (2, {"numpy"}, {"streets.view"}),
    "streets.scenery": (2, {"cv2", "numpy"}, {"streets.view"}),
    "streets.houses": (2, {"numpy"}, {"streets.view", "streets.objects"}),
    "streets.cars": (2, {"numpy"}, {"streets.view", "streets.objects"}),
    "streets.layout": (2, {"numpy"}, {f"streets.{name}" for name in STREETS - {"scene", "layout"}}),
    "streets.scene": (2, {"numpy"}, {f"streets.{name}" for name in STREETS - {"scene"}}),
    "sources.synthetic": (3, {"cv2", "pydantic"}, set()),
    "sources.camvid": (3, {"pydantic"}, set()),
    "sources.folder": (3, {"pydantic"}, set()),
    "sources.voc": (3, {"pydantic"}, set()),
    "layouts": (3, set(), set()),
    "survey": (3, {"numpy"}, set()),
    "pairs": (3, {"numpy", "pydantic"}, set()),
    "twins": (3, set(), set()),
    "scoring": (3, {"numpy", "torch"}, set()),
    "evaluation": (3, {"numpy", "pydantic"}, set()),
    "results": (3, {"numpy", "pydantic"}, set()),
    "ranking": (3, {"pydantic"}, {"results"}),
    "charts": (3, {"matplotlib", "numpy"}, {"results"}),
    "sheets": (3, {"numpy"}, {"charts", "ranking", "results"}),
    "report": (3, {"jinja2", "numpy"}, {"results", "ranking"}),
    "card": (3, {"jinja2"}, {"results"}),
    "augmentation": (3, {"numpy", "torch"}, set()),
    "resume": (3, {"numpy", "safetensors", "torch"}, set()),
    "training": (3, {"numpy", "pydantic", "torch"}, {"augmentation"}),
    "description": (4, set(), set()),
    "progress": (4, {"torch"}, set()),
    "discovery": (2, set(), set()),
    "instances": (2, {"cv2", "numpy"}, set()),
    "averaging": (3, {"numpy", "torch"}, set()),
    "export": (3, {"numpy", "onnx", "onnxruntime", "torch"}, {"trained"}),
    "overlay": (3, {"cv2", "numpy"}, set()),
    "provenance": (3, set(), set()),
    "scratch": (3, set(), set()),
    "recipe": (2, set(), set()),
    "trained": (3, {"torch"}, set()),
    "replay": (4, set(), set()),
    "noise": (4, set(), set()),
    "gallery": (4, {"numpy"}, set()),
    "inspection": (4, set(), set()),
    "check": (4, {"torch"}, set()),
    "gate.baseline": (2, set(), set()),
    "gate.comparison": (2, {"numpy", "scipy"}, set()),
    "gate.side": (4, {"numpy", "pydantic"}, set()),
    "gate.pairing": (4, set(), {"gate.side"}),
    "gate.criteria": (4, {"pydantic"}, {"noise"}),
    "gate.evidence": (4, {"numpy"}, {"gate.criteria", "gate.pairing"}),
    "gate.verdict": (4, set(), {"gate.criteria", "gate.evidence"}),
    "gate.wording": (4, set(), {"gate.criteria", "gate.verdict"}),
    "gate.authority": (5, set(), set()),
    "gate.tie": (5, set(), set()),
    "gate.judgement": (5, {"numpy"}, {"gate.authority", "gate.tie"}),
    "gate.page": (5, set(), {"gate.judgement"}),
    "gate.command": (5, set(), {"gate.judgement", "gate.page"}),
    "inference": (5, {"numpy", "torch"}, set()),
    "__main__": (6, set(), set()),
}
ROOMS = {
    f"segline.{name}": (tier, outside, {f"segline.{other}" for other in beside})
    for name, (tier, outside, beside) in ROOMS.items()
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
    known["segline.dataset.onehot"] = tmp_path / "encode.py"
    known["segline.dataset.onehot"].write_text("import torch\nfrom segline.preprocessing import images\n")

    assert not own_imports("segline.dataset.onehot", known) <= allowed_imports("segline.dataset.onehot")
    assert not third_party("segline.dataset.onehot", known) - standard_library() <= ROOMS["segline.dataset.onehot"][1]


@pytest.mark.parametrize(
    "module", ["stages.download", "stages.preprocess", "stages.plot", "segline.preprocessing.images"]
)
def test_what_needs_no_tensors_imports_neither_torch_nor_mlflow(module):
    code = f"import sys, {module}; print({{'torch', 'mlflow', 'matplotlib'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


@pytest.mark.slow
@pytest.mark.parametrize("backwards", [False, True])
def test_importing_a_module_prints_nothing_and_touches_no_file(tmp_path, backwards):
    """All of them in one process, each after a line with its name; both ways, lest one leans on those before it."""
    needs_an_extra = set() if find_spec("keras") else {"benchmarks.keras_seed"}
    names = sorted(modules().keys() - needs_an_extra, reverse=backwards)
    program = "import importlib, sys\nfor name in sys.argv[1:]: print(name, flush=True); importlib.import_module(name)"
    command, environment = [sys.executable, "-B", "-c", program, *names], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, names, "")
    assert list(tmp_path.iterdir()) == []
