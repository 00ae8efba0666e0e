"""`segline export`: the file needs nothing but an image and labels it as torch does; a wrong one is not kept."""

import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from segline import __main__ as command
from segline.core import pipeline, plugins
from segline.core.errors import IntegrityError, ParameterError, PipelineError
from segline.dataset import raw
from segline.dataset.preparation import Intensity, Preparation
from segline.inference import export_noise, export_onnx, onnx_graph
from segline.model import checkpoint, randomness
from segline.preprocessing.image_files import png
from tests import tiny

CLASSES = tuple(raw.Label(name, (10, 20, shade)) for shade, name in enumerate(("road", "Stra\u00dfe", "sky")))
SIZE = tiny.stretched(20, 28)
TILES = replace(SIZE, fit="tile", height=64, width=96, scale=0.5, overlap=0.5)
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
ELSEWHERE = ("smp",)  # tests/encoders: it needs an extra


@pytest.fixture
def onnx() -> ModuleType:
    return pytest.importorskip("onnx", reason=f"the extra is not installed: {export_onnx.INSTALL}")


@pytest.fixture
def onnxruntime(onnx) -> ModuleType:
    return pytest.importorskip("onnxruntime", reason=f"the extra is not installed: {export_onnx.INSTALL}")


def model(folder: Path, description: checkpoint.Description) -> Path:
    """The file of a network with the batch statistics of a few steps."""
    folder.mkdir(exist_ok=True)
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


def noise(height: int, width: int, bands: int = 3, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, bands)).astype(kind)


def outputs(onnxruntime: ModuleType, path: Path, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes and logits."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["classes", "logits"], {"image": image})


def metadata(onnx: ModuleType, path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def share_of_equals(folder: Path, out: Path, image: np.ndarray, onnxruntime: ModuleType) -> float:
    """Of the pixels of the file's classes and those of `segline predict` on the same image."""
    png.write_png(folder / "image.png", image)
    words = [
        str(folder / "image.png"),
        "--model",
        str(folder / "model.safetensors"),
        "--out",
        str(folder / "predicted"),
    ]
    command.main(["predict", *words])
    (mask,) = (folder / "predicted/masks").iterdir()
    return float((cv2.imread(str(mask), cv2.IMREAD_UNCHANGED) == outputs(onnxruntime, out, image)[0]).mean())


def test_logits_are_divided_by_the_temperature_and_classes_are_not(tmp_path, onnxruntime):
    image = noise(40, 56)
    plain = outputs(onnxruntime, exported(tmp_path / "plain"), image)
    hot = outputs(onnxruntime, exported(tmp_path / "hot", replace(SMALL, temperature=2.5)), image)

    np.testing.assert_allclose(plain[1] / 2.5, hot[1], rtol=1e-6)
    np.testing.assert_array_equal(plain[0], hot[0])


class Planted(nn.Module):
    """A network for SMALL with a function that a trace at one size gets wrong at others."""

    def __init__(self, function):
        super().__init__()
        self.convolve = nn.Conv2d(3, 3, 1)
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self.convolve(images))


def test_every_network_is_tested_here():
    assert plugins.names("segline.networks") == sorted([*NETWORKS, *ELSEWHERE])


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["stretch", "pad", "tile"])
@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_gives_torch_s_logits_at_any_size(name, head, fit, tmp_path, onnxruntime):
    classes = CLASSES if head == "softmax" else CLASSES[:2]
    preparation = TILES if fit == "tile" else replace(SIZE, fit=fit)
    parts = {"network": name, "parameters": NETWORKS[name], "head": head, "classes": classes}
    description = replace(SMALL, preparation=preparation, **parts)
    out = exported(tmp_path, description)
    network, _ = checkpoint.read(tmp_path / "model.safetensors")
    steps = onnx_graph.ImageToClasses(network, description).eval()

    for height, width in [(1, 1), (5, 8), (64, 32), (33, 147), (50, 31)]:
        image = noise(height, width)
        with torch.inference_mode():
            expected = steps(torch.from_numpy(image))[1].numpy()
        found, logits = outputs(onnxruntime, out, image)

        assert (height, width) == found.shape
        assert (len(classes), height, width) == logits.shape
        assert np.array_equal(logits.argmax(axis=0), found)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("preparation", [SIZE, replace(SIZE, fit="pad"), TILES], ids=lambda each: each.fit)
@pytest.mark.parametrize("size", [(40, 56), (7, 90), (99, 61), (20, 28)])
def test_it_labels_an_image_as_predict_does(preparation, size, tmp_path, onnxruntime):
    out = exported(tmp_path, replace(SMALL, preparation=preparation))

    assert share_of_equals(tmp_path, out, noise(*size), onnxruntime) > 0.99


def test_it_is_valid_onnx_for_one_image_of_any_size(tmp_path, onnx, onnxruntime):
    content = onnx.load(exported(tmp_path))
    onnx.checker.check_model(content, full_check=True)
    types = [value.type.tensor_type for value in (*content.graph.input, *content.graph.output)]
    shapes = [[axis.dim_param or axis.dim_value for axis in kind.shape.dim] for kind in types]

    assert [["height", "width", 3], ["height", "width"], [3, "height", "width"]] == shapes
    assert ["image", "classes", "logits"] == [value.name for value in (*content.graph.input, *content.graph.output)]
    assert [np.uint8, np.uint8, np.float32] == [onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type) for kind in types]
    assert [18] == [opset.version for opset in content.opset_import]


def test_the_metadata_say_what_the_classes_are_and_what_was_compared(tmp_path, onnx, onnxruntime):
    facts = metadata(onnx, exported(tmp_path))
    checks = json.loads(facts["checks"])

    assert [{"name": label.name, "rgb": list(label.rgb)} for label in CLASSES] == json.loads(facts["classes"])
    assert hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest() == facts["model_sha256"]
    assert TypeAdapter(Preparation).validate_json(facts["preparation"]) == SIZE
    assert "small_unet" == facts["network"]
    assert checks["noise"]["logits"] < export_noise.LOGITS
    assert checks["noise"]["equal"] > export_noise.EQUAL
    assert checks["scores"] is None


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "uint32", "int32", "float32"])
def test_deeper_samples_and_chosen_bands_go_in_as_they_are_in_the_file(kind, tmp_path, onnxruntime):
    percentiles = Intensity("percentile", (3.0, 10.0), (90.0, 240.5))
    preparation = Preparation("tile", 32, 64, 0.5, 0.25, (4, 1), "upright", "black", percentiles, kind, 4)
    description = replace(SMALL, preparation=preparation)
    out = exported(tmp_path, description)
    network, _ = checkpoint.read(tmp_path / "model.safetensors")
    image = noise(70, 130, 4, kind)

    assert (export_noise.predicted(network, description, image) == outputs(onnxruntime, out, image)[0]).mean() > 0.99


def test_the_example_in_the_documentation_runs(tmp_path, monkeypatch, onnxruntime):
    page = (pipeline.ROOT / "docs/your-data.md").read_text(encoding="utf-8")
    example = page.partition("## Exporting to ONNX")[2].partition("```python\n")[2].partition("```")[0]
    out = exported(tmp_path)
    monkeypatch.chdir(out.parent)
    png.write_png(Path("photo.png"), noise(31, 47))
    names: dict[str, np.ndarray] = {}
    exec(example, names)

    classes, logits = outputs(onnxruntime, out, noise(31, 47))
    assert np.array_equal(classes, names["classes"])
    assert np.array_equal(logits, names["logits"])


def test_a_gray_model_takes_one_band(tmp_path, onnxruntime):
    out = exported(tmp_path, replace(SMALL, preparation=tiny.stretched(20, 28, channels=1)))

    assert (9, 6) == outputs(onnxruntime, out, noise(9, 6, 1))[0].shape


def test_exporting_twice_gives_equal_bytes_and_no_path_of_this_machine(tmp_path, onnxruntime):
    content = exported(tmp_path).read_bytes()

    assert content == exported(tmp_path).read_bytes()
    assert str(tmp_path).encode() not in content
    assert str(Path(export_onnx.__file__).parent).encode() not in content


def test_two_lines_report_what_was_written_and_compared(tmp_path, onnxruntime, capfd):
    out = exported(tmp_path)
    said = capfd.readouterr()
    first, second = said.out.splitlines()

    assert first.startswith(f"export: {tmp_path}/model.safetensors -> {out}: 0.0 MB; on noise logits within ")
    assert first.endswith("% of classes as predict's")
    assert second.startswith("export: compared on noise alone: ")
    assert said.err == ""


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda features: features * (2 if features.shape[-1] > 96 else 1), r"expected torch's logits within 0.0001 "),
        (lambda features: features + torch.ones(1, 1, *map(int, features.shape[2:])), r"onnxruntime fails on "),
        (lambda features: features[..., : int(features.shape[-1])], r"expected logits \(3, 43, 209\), got "),
        (lambda features: features / 0, r"got nan"),
    ],
    ids=["a branch on the size", "a fixed size", "a crop to one size", "no numbers"],
)
@pytest.mark.parametrize("before", [None, b"an earlier export"])
@pytest.mark.usefixtures("onnxruntime")
def test_a_file_that_differs_from_torch_is_not_kept(function, complaint, before, tmp_path, capfd):
    """The meta-test of the comparison: networks that a trace gets wrong. Tiles alone give them several sizes."""
    out = tmp_path / "model.onnx"
    if before:
        out.write_bytes(before)

    with pytest.raises(IntegrityError, match=complaint):
        export_onnx.write(out, Planted(function), replace(SMALL, preparation=TILES), "0" * 64, None)
    assert before == (out.read_bytes() if out.exists() else None)
    assert [out] * bool(before) == list(tmp_path.iterdir())
    assert capfd.readouterr().err == ""


def test_a_file_that_differs_from_predict_is_not_kept(tmp_path, onnxruntime, monkeypatch):
    """As torch and the file take the same steps, a wrong step would make both wrong."""
    monkeypatch.setattr(onnx_graph, "_rounded", lambda pixels, _: 255 - pixels)

    with pytest.raises(
        IntegrityError, match=r"expected the classes of segline predict on 99% of the pixels of noise, "
    ):
        exported(tmp_path)
    assert not (tmp_path / "out/model.onnx").exists()


def test_what_torch_cannot_trace_is_one_line(tmp_path, onnxruntime, capfd):
    """Torch's C++ prints the graph, behind Python's back."""
    with pytest.raises(PipelineError, match=r"/model.onnx: torch cannot export small_unet \(.*\). Nothing was written"):
        export_onnx.write(tmp_path / "model.onnx", Planted(torch.special.i0), SMALL, "0" * 64, None)
    os.write(1, b"later\n")

    assert ("later\n", "") == capfd.readouterr()


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
