"""`smp` without its packages: another network does not miss them, and choosing it is one line that says what to do."""

import sys

import pytest
import torch
import yaml

from segline.commands import check
from segline.core.errors import IntegrityError, ParameterError
from segline.dataset import raw
from segline.model import batches, checkpoint
from segline.networks import smp
from tests import tiny
from tests.contract.closure import ROOT

SECTION = {"architecture": "unet", "encoder": "resnet18", "decoder": {}, "weights": "", "weights_sha256": ""}
SAID = "smp needs the package segmentation_models_pytorch, which is missing here: make setup EXTRAS=encoders."


@pytest.fixture(autouse=True)
def without_packages(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)


def problems(path, monkeypatch, **changes) -> list[str]:
    monkeypatch.chdir(ROOT)
    document = yaml.safe_load((ROOT / "presets/synthetic.yaml").read_text())
    document["model"] |= {"smp": SECTION} | changes
    (path / "params.yaml").write_text(yaml.safe_dump(document))
    return [str(error) for error in check.problems(path / "params.yaml")]


def test_a_section_that_is_not_chosen_needs_no_packages(tmp_path, monkeypatch):
    assert [] == problems(tmp_path, monkeypatch)


def test_check_says_what_to_install(tmp_path, monkeypatch):
    assert [f"params.yaml: model.name: {SAID} Or choose another network."] == problems(
        tmp_path, monkeypatch, name="smp"
    )


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("decoder", {"decoder_channels": [10**6]}, "true, false, null, text, a number of at most 4096, or a list"),
        ("decoder", {"decoder_use_norm": {"type": "inplace"}}, "true, false, null, text, a number of at most 4096"),
        ("decoder", None, "params.yaml: model.smp.decoder: "),
        ("encoder", "", "params.yaml: model.smp.encoder: "),
        ("weights_sha256", "1", "params.yaml: model.smp.weights_sha256: "),
    ],
)
def test_a_section_is_checked_without_packages(tmp_path, monkeypatch, key, value, said):
    (error,) = problems(tmp_path, monkeypatch, smp=SECTION | {key: value})

    assert said in error


def test_a_model_file_says_what_to_install(tmp_path):
    """As `segline predict` reads it."""
    description = checkpoint.Description(
        network="smp",
        parameters=SECTION,
        head="softmax",
        preparation=tiny.stretched(8, 8),
        mean=batches.MEAN,
        std=batches.STD,
        classes=(raw.Label("a", (0, 0, 0)), raw.Label("b", (1, 1, 1))),
        class_weights=(),
    )
    checkpoint.write(tmp_path / "model.safetensors", {"a": torch.zeros(1)}, description)

    with pytest.raises(IntegrityError, match="make setup EXTRAS=encoders"):
        checkpoint.read_named(tmp_path / "model.safetensors")


def test_a_wheel_of_torchvision_for_another_torch_is_one_line(tmp_path, monkeypatch):
    """It raises this RuntimeError when it is imported."""
    (tmp_path / "segmentation_models_pytorch.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.delitem(sys.modules, "segmentation_models_pytorch")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(
        ParameterError, match=r"cannot be imported \(operator torchvision::nms does not exist\)\. Beside the CPU build"
    ):
        smp.build(smp.Section(**SECTION), 3, 2)
