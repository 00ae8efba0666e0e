"""An encoder starts from the file that params.yaml names by path and hash, or one line says why it cannot."""

import hashlib
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from segline.commands import check
from segline.core import plugins
from segline.core.errors import IntegrityError, ParameterError, PipelineError, TrainingError
from segline.model import checkpoint, randomness
from segline.training import pretrained
from stages import train
from tests import tiny

ROOT = Path(__file__).parents[2]
MOBILENET = "unet_mobilenet_v2"
FORMATS = ["safetensors", "pth"]


def build(name: str = MOBILENET, channels: int = 3, seed: int = 1) -> nn.Module:
    module = plugins.choose("segline.networks", name, key="model.name")
    section = module.Section(decoder_width=4, weights="", weights_sha256="")
    randomness.deterministic(seed)
    return module.build(section, channels, outputs=3)


def published(name: str = MOBILENET) -> dict[str, Tensor]:
    """The content of torchvision's file, dense layers included; tests/networks/test_networks.py checks the names."""
    return {**build(name, seed=7).encoder.state_dict(), "classifier.1.weight": torch.ones(10, 1280)}


def saved(weights: Any, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


def naming(path: Path | str, sha256: str | None = None, name: str = MOBILENET) -> dict[str, Any]:
    """The model section of params.yaml that names a file, with its hash unless another is given."""
    if sha256 is None:
        sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    section = {"decoder_width": 4, "weights": str(path), "weights_sha256": sha256}
    return {"model": {"name": name, "head": "softmax", name: section}}


def refusal(document: dict[str, Any]) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        pretrained.read(document)
    assert 1 == len(str(caught.value).splitlines())
    return caught.value


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", [MOBILENET, "unet_vgg16"])
def test_the_encoder_has_the_weights_of_the_file_and_the_rest_its_random_ones(tmp_path, name, kind):
    weights, network, drawn = published(name), build(name), build(name)
    pretrained.load(network, naming(saved(weights, tmp_path / f"file.{kind}"), name=name))

    for key, tensor in network.state_dict().items():
        expected = weights[key.removeprefix("encoder.")] if key.startswith("encoder.") else drawn.state_dict()[key]
        assert torch.equal(expected, tensor), key


def test_a_file_in_the_old_format_of_torch_loads_too(tmp_path):
    """torchvision's vgg16 has it."""
    torch.save(published(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    assert build(seed=7).encoder.state_dict().keys() == pretrained.read(naming(tmp_path / "old.pth")).keys()


@pytest.mark.parametrize("name", ["unet", MOBILENET])
def test_without_a_file_nothing_changes(name):
    document = {"model": {**tiny.PARAMETERS["model"], **naming("", "")["model"], "name": name}}
    network = build()
    pretrained.load(network, document)

    assert {} == pretrained.read(document)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), build().parameters(), strict=True))


def test_one_channel_gives_the_result_of_a_gray_image_in_r_g_and_b(tmp_path):
    document = naming(saved(published(), tmp_path / "file.pth"))
    gray, rgb = build(channels=1).eval(), build(channels=3).eval()
    pretrained.load(gray, document)
    pretrained.load(rgb, document)
    image = torch.randn(1, 1, 64, 64)

    for one, three in zip(gray.encoder(image), rgb.encoder(image.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(one, three, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_other_bands_take_the_weights_of_r_g_and_b_in_turn(tmp_path, channels):
    """Times 3 / C, so that the sum over the bands stays about the same: the rule of timm and SMP."""
    network, first = build(channels=channels), "features.0.0.weight"
    pretrained.load(network, naming(saved(published(), tmp_path / "file.pth")))

    weights = network.encoder.state_dict()
    for band in range(channels):
        torch.testing.assert_close(weights[first][:, band], published()[first][:, band % 3] * 3 / channels)
    assert all(torch.equal(tensor, published()[key]) for key, tensor in weights.items() if key != first)


def test_counts_of_batches_may_be_missing_as_in_old_files(tmp_path):
    weights = {key: tensor for key, tensor in published().items() if not key.endswith("num_batches_tracked")}
    path = saved(weights, tmp_path / "file.pth")

    assert build(seed=7).encoder.state_dict().keys() == pretrained.read(naming(path)).keys()


@pytest.mark.parametrize("kind", FORMATS)
def test_bytes_with_another_hash_are_refused_unparsed(tmp_path, kind):
    path = tmp_path / f"file.{kind}"
    path.write_bytes(b"anything")
    error = refusal(naming(path, "0" * 64))

    assert isinstance(error, IntegrityError)
    assert f"{path}: sha256 expected {'0' * 64}, got {hashlib.sha256(b'anything').hexdigest()}" in str(error)
    assert f"params.yaml: model.{MOBILENET}.weights_sha256" in error.remedy


def test_a_path_without_a_hash_is_refused_with_how_to_get_it(tmp_path):
    error = refusal(naming(saved(published(), tmp_path / "file.pth"), ""))

    assert isinstance(error, ParameterError)
    assert error.where == f"params.yaml: model.{MOBILENET}.weights_sha256"
    assert f"`sha256sum {tmp_path / 'file.pth'}`" in error.remedy
    assert "DVC" in error.remedy


def test_a_hash_without_a_path_is_refused():
    """The model file would otherwise name weights that were never loaded."""
    text = str(refusal(naming("", "0" * 64)))

    assert f"model.{MOBILENET}.weights: expected a .safetensors or .pth file, got ''." in text


@pytest.mark.parametrize("sha256", ["0" * 63, "0" * 65, "G" * 64, "x", "0" * 64 + "\n"])
def test_a_hash_is_64_hex_digits(sha256):
    error = refusal(naming("file.pth", sha256))

    assert isinstance(error, ParameterError)
    assert f"params.yaml: model.{MOBILENET}.weights_sha256" in str(error)


@pytest.mark.parametrize(
    ("make", "expected"),
    [(lambda path: None, "missing"), (lambda path: path.mkdir(), "a folder, pipe or device")],  # noqa: ARG005
)
def test_a_path_that_is_not_a_file_is_named(tmp_path, make, expected):
    path = tmp_path / "file.pth"
    make(path)
    error = refusal(naming(path, "0" * 64))

    assert isinstance(error, ParameterError)
    assert f"params.yaml: model.{MOBILENET}.weights: {path}: {expected}" in str(error)


def test_another_extension_is_refused(tmp_path):
    path = tmp_path / "file.h5"
    path.write_bytes(b"")

    assert f"expected a .safetensors or .pth file, got '{path}'" in str(refusal(naming(path)))


class Code:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("plain", [True, False])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, plain):
    content = {"features.0.0.weight": Code(tmp_path / "was run")}
    path = tmp_path / "file.pth"
    if plain:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    error = refusal(naming(path))

    assert isinstance(error, IntegrityError)
    assert "not a plain table of names and tensors (UnpicklingError); no code in it was run" in str(error)
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("content", [torch.zeros(2), {"state_dict": {"features.0.0.weight": torch.zeros(2)}}, [1]])
def test_content_that_is_not_a_table_of_tensors_is_refused(tmp_path, content):
    assert "not a plain table of names and tensors" in str(refusal(naming(saved(content, tmp_path / "file.pth"))))


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.eye(2).to_sparse(), "sparse_coo float32 on cpu"),
        (torch.zeros(2).to(torch.float8_e4m3fn), "strided float8_e4m3fn on cpu"),
        (torch.zeros(2, dtype=torch.complex64), "strided complex64 on cpu"),
        (torch.zeros(2, device="meta"), "strided float32 on meta"),
    ],
    ids=["sparse", "float8", "complex", "meta"],
)
def test_tensors_of_other_kinds_are_one_line(tmp_path, tensor, said):
    path = saved(published() | {"features.0.1.bias": tensor}, tmp_path / "file.pth")
    error = refusal(naming(path))

    assert isinstance(error, IntegrityError)
    assert f"{path}: features.0.1.bias is {said}, expected a dense tensor of floats or integers" in str(error)


def test_float8_in_safetensors_is_one_line(tmp_path):
    changed = published() | {"features.0.1.bias": torch.zeros(32).to(torch.float8_e5m2)}

    assert "features.0.1.bias is strided float8_e5m2" in str(
        refusal(naming(saved(changed, tmp_path / "a.safetensors")))
    )


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.999])
def test_a_truncated_file_is_refused(tmp_path, kind, share):
    path = saved(published(), tmp_path / f"file.{kind}")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    assert isinstance(refusal(naming(path)), IntegrityError)


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_a_broken_pickle_is_refused_whatever_its_bytes_mean(tmp_path, zipped):
    """Random changes of a small file; if it can still be read, it is not the encoder."""
    path, rng = tmp_path / "file.pth", random.Random(0)
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for _ in range(50):
        changed = bytearray(content)
        changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(changed)
        assert isinstance(refusal(naming(path)), IntegrityError)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"features.1.conv.1.weight": None}, "features.1.conv.1.weight is missing"),
        ({"features.19.weight": torch.ones(1)}, "features.19.weight is not part of it"),
        ({"features.0.0.weight": torch.ones(32, 1, 3, 3)}, "has shape (32, 1, 3, 3), expected (32, 3, 3, 3)"),
        ({"features.0.1.bias": torch.ones(32).char()}, "features.0.1.bias is torch.int8, expected torch.float32"),
        ({"features.0.1.bias": torch.full((32,), torch.nan)}, "features.0.1.bias is not finite"),
        ({"features.0.1.running_var": torch.full((32,), torch.inf)}, "features.0.1.running_var is not finite"),
    ],
)
@pytest.mark.parametrize("kind", FORMATS)
def test_tensors_that_are_not_those_of_the_encoder_are_named(tmp_path, kind, change, expected):
    weights = {key: tensor for key, tensor in (published() | change).items() if tensor is not None}
    error = refusal(naming(saved(weights, tmp_path / f"file.{kind}")))

    assert isinstance(error, IntegrityError)
    assert f"not the encoder of {MOBILENET}: " in str(error)
    assert expected in str(error)


def test_the_first_five_of_many_mismatches_are_named(tmp_path):
    weights = published("unet_vgg16")
    text = str(refusal(naming(saved(weights, tmp_path / "vgg16.pth"))))

    assert 5 == text.count(" is missing")
    assert "and 281 more" in text


def test_check_reports_a_missing_file_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    document = yaml.safe_load((ROOT / "presets/synthetic.yaml").read_text()) | naming("nowhere.pth", "0" * 64)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document))

    assert [f"params.yaml: model.{MOBILENET}.weights: nowhere.pth: missing"] == [
        str(error).split(". ")[0] for error in check.on_this_machine(path)
    ]


def test_a_model_file_records_the_hash_of_the_weights_and_not_their_path(tmp_path, monkeypatch):
    """It is read without the weights file. Two epochs leave the encoder near that file; from scratch it is far off."""
    tiny.begin(tmp_path, monkeypatch)
    path = saved(published(), tmp_path / "imagenet.safetensors")
    first = published()["features.0.0.weight"]
    distances = []
    for document in (naming(path), naming("", "")):
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny.PARAMETERS | document))
        train.main(tiny.TRAIN)
        path.unlink(missing_ok=True)
        network, description = checkpoint.read(tmp_path / "models/model.safetensors")
        distances.append((network.state_dict()["encoder.features.0.0.weight"] - first).abs().max())

        assert b"imagenet" not in (tmp_path / "models/model.safetensors").read_bytes()
        assert document["model"][MOBILENET] | {"weights": ""} == description.parameters
    assert distances[0] < 0.1 < distances[1]


def test_a_small_image_alone_in_a_batch_is_refused_in_one_line(tmp_path, monkeypatch):
    """Up to 32x32 pixels leave one value per channel at the bottom of the network."""
    tiny.begin(tmp_path, monkeypatch)
    training = tiny.PARAMETERS["train"] | {"batch_size": 5}
    document = tiny.PARAMETERS | naming("", "") | {"train": training}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))

    with pytest.raises(TrainingError, match=r"^params.yaml: train.batch_size: a batch of 1 leaves batch normalisation"):
        train.main(tiny.TRAIN)
