"""Files of torchvision, timm and SMP fit the encoders of `smp`: names may differ as these libraries write them."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from segline.core.errors import IntegrityError, PipelineError
from segline.model import randomness
from segline.networks import smp
from segline.training import pretrained
from tests.encoders.smallest import LITE, VIT, section


def naming(weights: dict[str, Tensor], path: Path, encoder: str, architecture: str = "unet") -> dict[str, Any]:
    """The model section of params.yaml for a file with these tensors."""
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    made = section(architecture, encoder, str(path), sha256)
    return {"model": {"name": "smp", "head": "softmax", "smp": made.model_dump()}}


def loaded(document: dict[str, Any], channels: int = 3) -> torch.nn.Module:
    randomness.deterministic(1)
    network = smp.build(smp.Section(**document["model"]["smp"]), channels, 2)
    pretrained.load(network, document)
    return network.eval()


def refusal(document: dict[str, Any]) -> str:
    with pytest.raises(PipelineError) as caught:
        pretrained.read(document)
    assert isinstance(caught.value, IntegrityError)
    return str(caught.value)


def timm_features(name: str, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The weights of timm's whole model, and the last features it hands to its head."""
    randomness.deterministic(7)
    model = timm.create_model(name).eval()
    with torch.inference_mode():
        return model.state_dict(), model.forward_intermediates(images, intermediates_only=True)[-1]


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "convnext_atto", "resnet18", "regnety_002"])
def test_a_file_of_timm_gives_the_features_of_timm(tmp_path, name):
    """Through its renaming of `stages.0` to `stages_0`, and without its classifier."""
    images = torch.randn(1, 3, 64, 64)
    weights, features = timm_features(name, images)
    network = loaded(naming(weights, tmp_path / "file.safetensors", f"tu-{name}"))

    with torch.inference_mode():
        torch.testing.assert_close(network.encoder(images)[-1], features, atol=1e-4, rtol=1e-4)


def test_a_file_of_timm_fits_the_vision_transformer_of_dpt(tmp_path):
    randomness.deterministic(7)
    weights = timm.create_model(VIT.removeprefix("tu-")).state_dict()
    encoder = loaded(naming(weights, tmp_path / "file.safetensors", VIT, "dpt")).encoder.state_dict()

    assert {f"model.{key}" for key in weights if not key.startswith("head.")} == set(encoder)
    assert all(torch.equal(tensor, weights[key.removeprefix("model.")]) for key, tensor in encoder.items())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vgg11_bn", "densenet121"])
def test_a_file_of_torchvision_fits_the_encoder_of_that_name(tmp_path, name):
    randomness.deterministic(7)
    weights = getattr(torchvision.models, name)().state_dict()
    encoder = loaded(naming(weights, tmp_path / "file.safetensors", name)).encoder.state_dict()

    assert encoder.keys() <= weights.keys()
    assert all(torch.equal(tensor, weights[key]) for key, tensor in encoder.items())


@pytest.mark.parametrize("encoder", ["resnet18", "mit_b0", LITE])
@pytest.mark.parametrize("whole", [False, True])
def test_files_of_smp_fit_with_and_without_the_rest_of_the_network(tmp_path, encoder, whole):
    randomness.deterministic(7)
    network = segmentation_models_pytorch.Unet(encoder, encoder_weights=None)
    weights = network.state_dict() if whole else network.encoder.state_dict()
    own = loaded(naming(weights, tmp_path / "file.safetensors", encoder)).encoder.state_dict()

    assert all(torch.equal(tensor, own[key]) for key, tensor in network.encoder.state_dict().items())


@pytest.mark.parametrize("encoder", ["resnet18", LITE, "mobileone_s0"])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_the_first_convolution_takes_other_bands_as_smp_itself_would(tmp_path, monkeypatch, encoder, channels):
    """SMP and timm are given the same file in place of the one that they would fetch."""
    randomness.deterministic(7)
    three = segmentation_models_pytorch.encoders.get_encoder(encoder, weights=None)
    weights = three.state_dict()
    own = loaded(naming(weights, tmp_path / "file.safetensors", encoder), channels).encoder.state_dict()
    if encoder.startswith("tu-"):
        first, adapt = "model.conv_stem.weight", timm.models.adapt_input_conv
        expected = {first: adapt(channels, weights[first])}
    else:
        three.set_in_channels(channels, pretrained=True)
        expected = three.state_dict()

    assert all(torch.allclose(tensor, own[key]) for key, tensor in expected.items())


def test_other_bands_are_refused_where_the_first_convolution_sees_none_of_them_by_itself(tmp_path):
    """TResNet moves 4 x 4 pixels of all bands into channels first: (64, 48, 3, 3) in its file."""
    name, first = "tresnet_m", "model.body_conv1.conv.weight"
    randomness.deterministic(7)
    document = naming(timm.create_model(name).state_dict(), tmp_path / "file.safetensors", f"tu-{name}")
    weights = loaded(document).encoder.state_dict()
    with pytest.raises(IntegrityError) as caught:
        loaded(document, channels=4)

    assert (64, 48, 3, 3) == weights[first].shape
    assert f"params.yaml: model.smp.weights: {first} has shape (64, 48, 3, 3) for three channels" in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())


@pytest.mark.parametrize(
    ("of", "encoder", "said"),
    [
        ("resnet34", "resnet18", "layer1.2.bn1.bias is not part of it"),
        ("resnet18", "resnet34", "layer1.2.conv1.weight is missing"),
        ("resnet18", LITE, "model.conv_stem.weight is missing"),
    ],
)
def test_a_file_for_another_encoder_is_one_line(tmp_path, of, encoder, said):
    weights = getattr(torchvision.models, of)().state_dict()

    assert said in refusal(naming(weights, tmp_path / "file.safetensors", encoder))


def test_a_deeper_variant_under_names_of_timm_is_one_line(tmp_path):
    """Every tensor of the encoder would be in the file; what is left over is not part of the named model."""
    weights = timm.create_model("tf_efficientnet_lite0").state_dict()
    extra = weights | {"blocks.6.1.conv_pw.weight": torch.ones(1)}

    assert "blocks.6.1.conv_pw.weight is not part of it" in refusal(naming(extra, tmp_path / "file.safetensors", LITE))
