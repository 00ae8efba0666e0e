"""`segline export` of networks of SMP: onnxruntime gives what torch gives, which the export itself compares."""

from pathlib import Path

import pytest

from segline.core.errors import PipelineError
from segline.inference import export_onnx
from segline.model import checkpoint, randomness
from tests.encoders.smallest import section
from tests.encoders.test_smp import describe


def trained(folder: Path, architecture: str) -> Path:
    """A model file with random weights."""
    description = describe(section(architecture), 3)
    randomness.deterministic(1)
    path = folder / "model.safetensors"
    checkpoint.write(path, checkpoint.network(description).state_dict(), description)
    return path


@pytest.mark.parametrize("architecture", ["deeplabv3", "deeplabv3plus", "fpn", "linknet"])
def test_these_architectures_can_be_exported(tmp_path, capsys, architecture):
    export_onnx.run(trained(tmp_path, architecture), tmp_path / "model.onnx")

    assert "on noise logits within" in capsys.readouterr().out


def test_a_vision_transformer_is_refused_for_the_way_it_resizes_its_positions(tmp_path):
    with pytest.raises(PipelineError, match=r"_upsample_bicubic2d_aa.* is not supported"):
        export_onnx.run(trained(tmp_path, "dpt"), tmp_path / "model.onnx")

    assert not (tmp_path / "model.onnx").exists()
