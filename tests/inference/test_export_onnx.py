"""`segline export`: the file computes what torch does and describes its use; a wrong one is not kept."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from segline import __main__ as command
from segline.core import plugins
from segline.core.errors import IntegrityError, ParameterError, PipelineError
from segline.dataset import raw
from segline.dataset.preparation import Intensity, Preparation
from segline.inference import export_onnx
from segline.model import checkpoint, forward, randomness
from tests import tiny

CLASSES = tuple(raw.Label(name, (10, 20, shade)) for shade, name in enumerate(("road", "Stra\u00dfe", "sky")))
SIZE = tiny.stretched(20, 28)
SMALL = checkpoint.Description("small_unet", {"width": 4}, "softmax", SIZE, 127.5, 60.5, CLASSES, ())
RESIDUAL = {"stem": 2, "widths": [4, 8, 8], "blocks": [1, 0, 2], "block": "separable", "expand": 2, "dropout": 0.1}
ENCODER = {"decoder_width": 4, "weights": "", "weights_sha256": ""}
NETWORKS = {
    "unet": {"width": 4, "depth": 3, "norm": "batch", "dropout": 0.2},
    "fcn": {"upsampling": "bilinear", "dropout": 0.5},
    "residual_unet": RESIDUAL,
    "small_unet": {"width": 4},
    "unet_vgg16": ENCODER,
    "unet_mobilenet_v2": ENCODER,
}


@pytest.fixture
def onnx() -> ModuleType:
    return pytest.importorskip("onnx", reason=f"the extra is not installed: {export_onnx.INSTALL}")


@pytest.fixture
def onnxruntime(onnx) -> ModuleType:
    return pytest.importorskip("onnxruntime", reason=f"the extra is not installed: {export_onnx.INSTALL}")


def model(folder: Path, description: checkpoint.Description) -> Path:
    """The file of a network with the batch statistics of a few steps."""
    randomness.deterministic(4)
    network = checkpoint.network(description).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, description.channels, 64, 64))
    checkpoint.write(folder / "model.safetensors", network.state_dict(), description)
    return folder / "model.safetensors"


def exported(folder: Path, description: checkpoint.Description = SMALL) -> Path:
    out = folder / "out/model.onnx"
    command.main(["export", "--model", str(model(folder, description)), "--out", str(out)])
    return out


def noise(count: int, channels: int, height: int, width: int) -> np.ndarray:
    draws = np.random.default_rng([count, height, width])
    return draws.integers(0, 256, (count, channels, height, width)).astype(np.float32)


def outputs(onnxruntime: ModuleType, path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": images})[0]


class Planted(nn.Module):
    """A network for SMALL with a function that a trace at one size gets wrong at others."""

    def __init__(self, function):
        super().__init__()
        self.convolve = nn.Conv2d(3, 3, 1)
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self.convolve(images))


def test_every_network_is_tested_here():
    assert plugins.names("segline.networks") == sorted(NETWORKS)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_gives_torch_s_class_logits_at_any_batch_height_and_width(name, head, tmp_path, onnxruntime):
    classes = CLASSES if head == "softmax" else CLASSES[:2]
    description = replace(SMALL, network=name, parameters=NETWORKS[name], head=head, classes=classes)
    out = exported(tmp_path, description)
    network, _ = checkpoint.read(tmp_path / "model.safetensors")

    for count, height, width in [(1, 1, 1), (3, 5, 8), (1, 64, 32), (2, 33, 47), (1, 50, 31)]:
        images = noise(count, 3, height, width) / 128 - 1
        expected = forward.logits(network, torch.from_numpy(images)).numpy()
        actual = outputs(onnxruntime, out, images)

        assert (count, len(classes), height, width) == actual.shape
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))


def test_the_file_alone_is_enough_to_label_an_image_as_torch_does(tmp_path, onnx, onnxruntime):
    out = exported(tmp_path)
    facts = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    network, _ = checkpoint.read(tmp_path / "model.safetensors")
    pixels = noise(1, 3, int(facts["height"]), int(facts["width"]))
    labels = outputs(onnxruntime, out, (pixels - np.float32(facts["mean"])) / np.float32(facts["std"])).argmax(axis=1)

    assert np.array_equal(forward.classes(forward.logits(network, torch.from_numpy((pixels - 127.5) / 60.5))), labels)
    assert len(np.unique(labels)) > 1
    assert [{"name": label.name, "rgb": list(label.rgb)} for label in CLASSES] == json.loads(facts["classes"])
    assert hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest() == facts["model_sha256"]
    assert (20, 28, "small_unet") == (int(facts["height"]), int(facts["width"]), facts["network"])


def test_it_is_valid_onnx_with_three_free_axes_and_a_description(tmp_path, onnx, onnxruntime):
    content = onnx.load(exported(tmp_path))
    onnx.checker.check_model(content, full_check=True)
    shapes = [
        [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*content.graph.input, *content.graph.output)
    ]

    assert [["batch", 3, "height", "width"], ["batch", 3, "height", "width"]] == shapes
    assert ["images", "logits"] == [content.graph.input[0].name, content.graph.output[0].name]
    assert "(x - mean) / std" in content.doc_string
    assert [export_onnx.OPSET] == [opset.version for opset in content.opset_import]


def test_a_gray_model_takes_one_channel(tmp_path, onnxruntime):
    images = noise(1, 1, 9, 6)
    out = exported(tmp_path, replace(SMALL, preparation=tiny.stretched(20, 28, channels=1)))
    network, _ = checkpoint.read(tmp_path / "model.safetensors")
    expected = forward.logits(network, torch.from_numpy(images)).numpy()

    np.testing.assert_allclose(outputs(onnxruntime, out, images), expected, rtol=1e-4, atol=1e-2)


def test_the_metadata_say_how_samples_become_the_bytes_of_the_input(tmp_path, onnx, onnxruntime):
    percentiles = Intensity("percentile", (3.0, 10.0), (900.0, 2047.5))
    preparation = Preparation("tile", 32, 64, 0.5, 0.25, (4, 1), "upright", "black", percentiles)
    out = exported(tmp_path, replace(SMALL, preparation=preparation))
    facts = {entry.key: entry.value for entry in onnx.load(out).metadata_props}

    assert preparation == TypeAdapter(Preparation).validate_json(facts["preparation"])
    assert (1, len(CLASSES), 32, 64) == outputs(onnxruntime, out, noise(1, 2, 32, 64)).shape, "one channel a band"


def test_exporting_twice_gives_equal_bytes_and_no_path_of_this_machine(tmp_path, onnxruntime):
    content = exported(tmp_path).read_bytes()

    assert content == exported(tmp_path).read_bytes()
    assert str(tmp_path).encode() not in content
    assert str(Path(export_onnx.__file__).parent).encode() not in content


def test_one_line_reports_what_was_written_and_how_close_it_is(tmp_path, onnxruntime, capfd):
    out = exported(tmp_path)
    said = capfd.readouterr()

    assert said.out.startswith(f"export: {tmp_path}/model.safetensors -> {out}: 0.0 MB, logits within ")
    assert (1, "") == (said.out.count("\n"), said.err)


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda features: features * (2 if features.shape[-1] > 7 else 1), r"expected torch's logits within 0.0001 "),
        (
            lambda features: features + torch.ones(1, 1, *map(int, features.shape[2:])),
            r"onnxruntime fails on 1x3x20x28",
        ),
        (lambda features: features[..., : int(features.shape[-1])], r"expected logits \(1, 3, 20, 28\), got \("),
        (lambda features: features / 0, r"got nan"),
    ],
    ids=["a branch on the size", "a fixed size", "a crop to one size", "no numbers"],
)
@pytest.mark.parametrize("before", [None, b"an earlier export"])
@pytest.mark.usefixtures("onnxruntime")
def test_a_file_that_differs_from_torch_is_not_kept(function, complaint, before, tmp_path, capfd):
    """The meta-test of the comparison: networks that a trace gets wrong."""
    out = tmp_path / "model.onnx"
    if before:
        out.write_bytes(before)

    with pytest.raises(IntegrityError, match=complaint):
        export_onnx.write(out, Planted(function), SMALL, "0" * 64)
    assert before == (out.read_bytes() if out.exists() else None)
    assert [out] * bool(before) == list(tmp_path.iterdir())
    assert capfd.readouterr().err == ""


def test_an_earlier_file_is_replaced_on_success(tmp_path, onnx, onnxruntime):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.onnx").write_bytes(b"an earlier export")
    out = exported(tmp_path)

    assert "small_unet" in {entry.value for entry in onnx.load(out).metadata_props}
    assert [out] == list(out.parent.iterdir())


@pytest.mark.parametrize("name", ["model.pt", "model", "model.ONNX"])
def test_another_extension_is_refused_before_anything_is_read(name, tmp_path):
    with pytest.raises(
        ParameterError, match=r"^--out: expected a name that ends in .onnx, got '\S+'. Write .*/model.onnx$"
    ):
        export_onnx.run(tmp_path / "missing.safetensors", tmp_path / name)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(IntegrityError, match=r"nothing.safetensors: missing"):
        export_onnx.run(tmp_path / "nothing.safetensors", tmp_path / "model.onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_one_line_names_the_command_that_installs_it(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # makes Python refuse the import

    with pytest.raises(PipelineError) as caught:
        exported(tmp_path)
    assert "segline export: it needs packages that are not installed (" in str(caught.value)
    assert str(caught.value).endswith("Install them: make setup EXTRAS=onnx")
    assert not (tmp_path / "out").exists()


def test_more_weights_than_a_file_can_contain_are_refused(tmp_path, onnxruntime, monkeypatch):
    monkeypatch.setattr(export_onnx, "LARGEST", 1000)

    with pytest.raises(PipelineError, match=r"an ONNX file can contain 1000. Train a narrower network"):
        exported(tmp_path)
    assert not (tmp_path / "out").exists()
