"""Every architecture of segmentation_models_pytorch: any size and number of bands, equal bytes, one line if refused."""

import hashlib
import json

import pytest
import segmentation_models_pytorch
import timm
import torch
from torch import Tensor

from segline.core.errors import ParameterError
from segline.dataset import raw
from segline.model import batches, checkpoint, randomness
from segline.networks import smp
from tests import tiny
from tests.encoders.smallest import ARCHITECTURES, LITE, NARROW, section

LABELS = tuple(raw.Label(name, (0, 0, number)) for number, name in enumerate("abcde"))


def refusal(made: smp.Section) -> str:
    with pytest.raises(ParameterError) as caught:
        smp.build(made, 3, 2)
    assert 1 == len(str(caught.value).splitlines())
    return str(caught.value)


def describe(made: smp.Section, channels: int) -> checkpoint.Description:
    return checkpoint.Description(
        network="smp",
        parameters=made.model_dump(),
        head="softmax",
        preparation=tiny.stretched(64, 64, channels),
        mean=batches.MEAN,
        std=batches.STD,
        classes=LABELS,
        class_weights=(),
    )


def test_every_architecture_of_the_library_is_tested_here():
    assert sorted(segmentation_models_pytorch.MODEL_ARCHITECTURES_MAPPING) == ARCHITECTURES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_any_size_comes_back_at_its_own_size_and_from_the_model_file_with_equal_bytes(tmp_path, architecture):
    """Of four bands. JSON makes no difference between what params.yaml and the model file hold."""
    made = section(architecture)
    randomness.deterministic(1)
    network = checkpoint.network(describe(made, 4)).eval()
    path = tmp_path / "model.safetensors"
    checkpoint.write(path, network.state_dict(), describe(made, 4))
    again, description = checkpoint.read(path)

    assert json.loads(json.dumps(made.model_dump())) == description.parameters
    for size in [(1, 1), (33, 70)]:
        images = torch.randn(2, 4, *size).clamp(-1, 1)
        with torch.inference_mode():
            logits = network(images)
            assert torch.equal(logits, again(images))
        assert logits.shape == (2, 5, *size)
        assert logits.isfinite().all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_two_steps_of_training_give_equal_bytes_twice(architecture):
    def trained() -> str:
        randomness.deterministic(7)
        network = checkpoint.network(describe(section(architecture), 3)).train()
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        for step in range(2):
            randomness.reseed(7, step)
            network(torch.randn(2, 3, 33, 40)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        return hashlib.sha256(b"".join(each.numpy().tobytes() for each in network.state_dict().values())).hexdigest()

    assert trained() == trained()


@pytest.mark.parametrize(
    ("encoder", "channels"),
    [
        ("resnet34", 1),
        ("mobilenet_v2", 4),
        ("mit_b0", 2),
        ("tu-convnext_atto", 3),
        ("tu-swin_tiny_patch4_window7_224", 1),
    ],
)
def test_encoders_of_both_libraries_take_any_number_of_bands(encoder, channels):
    randomness.deterministic(1)
    network = smp.build(section("unet", encoder), channels, 2).eval()
    images = torch.randn(1, channels, 45, 70)

    with torch.inference_mode():
        assert network(images).shape == (1, 2, 45, 70)


@pytest.mark.parametrize("architecture", ["segformer", "upernet", "pan", "pspnet"])
def test_transformers_carry_these_architectures_too(architecture):
    network = smp.build(section(architecture, "mit_b0"), 3, 2).eval()

    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 45, 70)).shape == (1, 2, 45, 70)


def test_an_image_has_the_same_logits_alone_and_in_a_batch():
    randomness.deterministic(1)
    network = smp.build(section("unet"), 3, 2).eval()
    images = torch.randn(3, 3, 40, 50)

    with torch.inference_mode():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def scaled(encoder: str, pixels: Tensor) -> Tensor:
    network = smp.build(section("unet", encoder), pixels.shape[-1], 2)
    scaling: Tensor = network.scaling(batches.inputs(pixels, batches.MEAN, batches.STD))
    return scaling


@pytest.mark.parametrize(
    ("encoder", "mean", "std"),
    [
        (LITE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("vgg11", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_an_encoder_gets_the_inputs_that_its_published_weights_expect(encoder, mean, std):
    pixels = torch.randint(256, (2, 5, 4, 3), dtype=torch.uint8)
    inputs = scaled(encoder, pixels)

    for channel in range(3):
        expected = (pixels[..., channel] / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(inputs[:, channel], expected, atol=1e-6, rtol=1e-5)
    five = scaled(encoder, pixels.repeat(1, 1, 1, 2)[..., :5])
    torch.testing.assert_close(
        five[:, 4], (pixels[..., 1] / 255 - sum(mean) / 3) / (sum(std) / 3), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("name", ["inceptionresnetv2", "inception_v4", "xception41", "dpn68"])
def test_the_scaling_of_encoders_whose_settings_lack_it_is_that_of_timm(name):
    """SMP keeps theirs on a server only; timm has the same encoders under names of its own."""
    own = {"inceptionresnetv2": "inceptionresnetv2", "inception_v4": "inceptionv4", "xception41": "xception"}
    twin = {"inceptionresnetv2": "inception_resnet_v2"}.get(name, name)
    mean, std = smp.scaling(own.get(name, name))
    settings = timm.models.get_pretrained_cfg(twin)

    assert pytest.approx(settings.mean, abs=1e-4) == mean
    assert pytest.approx(settings.std, abs=1e-4) == std


def test_the_scaling_is_in_the_model_file():
    """So a later version of timm that changed a number would not change a trained model."""
    assert {"scaling", "encoder", "decoder", "head"} == {
        key.split(".")[0] for key in smp.build(section("unet"), 3, 2).state_dict()
    }


def test_encoders_are_those_of_both_registries():
    names = smp.encoders()

    assert len(names) == len(set(names))
    assert set(segmentation_models_pytorch.encoders.get_encoder_names()) < set(names)
    assert {f"tu-{name}" for name in timm.list_models()} < set(names)
    assert "tu-tf_efficientnet_lite0.in1k" in names


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"architecture": "unet++"},
            "params.yaml: model.smp.architecture: 'unet++' is not in segmentation_models_pytorch. Did you mean unet?",
        ),
        (
            {"encoder": "resnet344"},
            "params.yaml: model.smp.encoder: 'resnet344' is not in segmentation_models_pytorch. Did you mean resnet34?",
        ),
        (
            {"encoder": "tu-convnext_tinny"},
            "'tu-convnext_tinny' is not in segmentation_models_pytorch. Did you mean tu-convnext_tiny?",
        ),
        ({"encoder": "tu-hf-hub:timm/resnet18"}, "is not in segmentation_models_pytorch."),
        ({"decoder": {"decoder_chanels": [8]}}, "not a parameter of unet. Did you mean decoder_channels?"),
        (
            {"decoder": {"checkpoint_path": "a.pth"}},
            "decoder.checkpoint_path: not a parameter of unet. It has: encoder_d",
        ),
        ({"decoder": {"encoder_weights": "imagenet"}}, "decoder.encoder_weights: not a parameter of unet."),
        ({"decoder": {"activation": "sigmoid"}}, "decoder.activation: not a parameter of unet."),
        (
            {"decoder": {"decoder_channels": [8, 8]}},
            "params.yaml: model.smp: unet on tu-tf_efficientnet_lite0 does not work (ValueError: Model depth is 5, but",
        ),
        ({"decoder": {"decoder_channels": "wide"}}, "does not work ("),
        ({"decoder": {"encoder_depth": 9}}, "does not work ("),
        ({"architecture": "linknet", "decoder": {}, "encoder": "mit_b0"}, "is not supported for Linknet)"),
        ({"architecture": "dpt", "decoder": {}}, "Choose a vision transformer of timm (tu-vit_...) or"),
        ({"encoder": "tu-vit_tiny_patch16_224"}, "(ValueError: Unsupported model downsampling pattern.)"),
        ({"encoder": "tu-maxvit_tiny_tf_224"}, "does not work ("),
        (
            {"architecture": "fpn", "decoder": {"upsampling": 8}},
            "model.smp.decoder: fpn on tu-tf_efficientnet_lite0 gives 64 pixels for 32. Let `upsampling` fit",
        ),
    ],
)
def test_what_cannot_be_built_is_one_line(changes, said):
    assert said in refusal(section("unet").model_copy(update={"decoder": NARROW} | changes))


@pytest.mark.parametrize("depth", [3, 4])
def test_a_shallower_encoder_needs_less_padding(depth):
    made = section("unet").model_copy(update={"decoder": {"encoder_depth": depth, "decoder_channels": [8] * depth}})
    network = smp.build(made, 3, 2).eval()

    assert 2**depth == network.stride
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 41, 50)).shape == (1, 2, 41, 50)
