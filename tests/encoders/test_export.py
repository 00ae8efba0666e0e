"""`segline export` of networks of SMP: onnxruntime gives what torch gives, which the export itself compares."""

from pathlib import Path

import pytest

from segline.core.errors import PipelineError
from segline.inference import export_onnx
from segline.model import checkpoint, randomness
from tests.encoders.smallest import ARCHITECTURES, section
from tests.encoders.test_smp import describe

EXPORTED = ["deeplabv3", "deeplabv3plus", "fpn", "linknet", "manet", "pan", "segformer", "unet", "unetplusplus"]
POOLING = r"adaptive_avg_pool2d, input size not accessible"
REFUSED = {"dpt": r"_upsample_bicubic2d_aa.* is not supported", "pspnet": POOLING, "upernet": POOLING}


def trained(folder: Path, architecture: str) -> Path:
    """A model file with random weights."""
    description = describe(section(architecture), 3)
    randomness.deterministic(1)
    path = folder / "model.safetensors"
    checkpoint.write(path, checkpoint.network(description).state_dict(), description)
    return path


def test_every_architecture_is_tested_here():
    assert sorted([*EXPORTED, *REFUSED]) == ARCHITECTURES


@pytest.mark.parametrize("architecture", EXPORTED)
def test_these_architectures_can_be_exported(tmp_path, capsys, architecture):
    export_onnx.run(trained(tmp_path, architecture), tmp_path / "model.onnx")

    assert "on noise logits within" in capsys.readouterr().out


@pytest.mark.parametrize("architecture", REFUSED)
def test_an_operation_that_onnx_has_not_for_any_size_is_refused(tmp_path, architecture):
    with pytest.raises(PipelineError, match=REFUSED[architecture]):
        export_onnx.run(trained(tmp_path, architecture), tmp_path / "model.onnx")

    assert not (tmp_path / "model.onnx").exists()
