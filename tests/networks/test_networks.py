"""Every network takes any size and any number of channels; those after a published system have its exact size."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segline.core import plugins
from segline.model import batches, randomness
from segline.networks import blocks, fcn, residual_unet, small_unet, unet, unet_mobilenet_v2, unet_vgg16

SECTIONS = {
    "unet": unet.Section(width=4, depth=2, norm="batch", dropout=0.1),
    "fcn": fcn.Section(upsampling="nearest", dropout=0.5),
    "residual_unet": residual_unet.Section(
        stem=2, widths=[4, 8, 8], blocks=[1, 0, 2], block="full", expand=2, dropout=0.1
    ),
    "small_unet": small_unet.Section(width=4),
    "unet_vgg16": unet_vgg16.Section(decoder_width=4, weights="", weights_sha256=""),
    "unet_mobilenet_v2": unet_mobilenet_v2.Section(decoder_width=4, weights="", weights_sha256=""),
}
NAMES = sorted(SECTIONS)


def build(name: str, channels: int, outputs: int) -> nn.Module:
    randomness.deterministic(1)
    return plugins.choose("segline.networks", name, key="model.name").build(SECTIONS[name], channels, outputs)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_network_is_tested_here_or_in_tests_encoders():
    """That of `smp` has packages and an environment of its own."""
    assert sorted([*NAMES, "smp"]) == plugins.names("segline.networks")


def test_fcn_has_exactly_the_10_550_037_parameters_of_system_s2():
    """S2 is an introduction to segmentation of 2022."""
    with torch.device("meta"):
        assert 10_550_037 == count(fcn.build(SECTIONS["fcn"], channels=3, outputs=21))


def test_small_unet_has_exactly_the_56_689_parameters_of_system_s3():
    """S3 is a handbook of computer vision."""
    assert 56_689 == count(small_unet.build(small_unet.Section(width=16), channels=1, outputs=1))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 5), (8, 8), (17, 30)])
@pytest.mark.parametrize("name", NAMES)
def test_any_size_comes_back_at_its_own_size(name, size):
    network = build(name, channels=3, outputs=5).eval()

    with torch.inference_mode():
        assert network(torch.zeros(2, 3, *size)).shape == (2, 5, *size)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_receives_a_gradient(name, channels):
    network = build(name, channels, outputs=3)
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.ones_(norm.weight)  # one that starts at 0 passes no gradient before its first step
    network(torch.randn(2, channels, 33, 33)).square().sum().backward()  # above 1x1 at the bottom of every network

    assert [] == [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("block", [residual_unet.full, residual_unet.separable])
def test_a_residual_block_starts_as_the_identity_and_can_learn(block):
    features = torch.randn(2, 4, 6, 5)
    layer = block(width=4, expand=3)

    assert torch.equal(features, layer(features))
    layer(features).square().sum().backward()
    assert layer.layers[-1].weight.grad.any()


def test_separable_blocks_have_fewer_parameters_than_full_ones():
    sections = (
        SECTIONS["residual_unet"].model_copy(update={"block": block, "expand": 1}) for block in ("separable", "full")
    )
    separable, full = (count(residual_unet.build(section, 3, 2)) for section in sections)

    assert separable < full


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_fcn_upsamples_as_its_parameter_says(mode):
    network = fcn.build(fcn.Section(upsampling=mode, dropout=0.0), 3, 2)

    assert {mode} == {layer.mode for layer in network.modules() if isinstance(layer, nn.Upsample)}


def test_padding_repeats_the_edge_and_is_cropped_away():
    """With the identity as network the input comes back, at any size."""
    images = torch.arange(30.0).reshape(1, 1, 5, 6)
    seen = []

    def identity(padded: torch.Tensor) -> torch.Tensor:
        seen.append(padded)
        return padded

    assert torch.equal(images, blocks.at_multiple_of(4, images, identity))
    assert seen[0].shape == (1, 1, 8, 8)
    assert torch.equal(seen[0][0, 0, 7], torch.tensor([24.0, 25, 26, 27, 28, 29, 29, 29]))


def torchvision_vgg16() -> dict[str, tuple[int, ...]]:
    """Names and shapes from configuration D: a convolution and its ReLU take two places, a pool takes one."""
    shapes: dict[str, tuple[int, ...]] = {}
    place, inputs = 0, 3
    for outputs, n in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]:
        for _ in range(n):
            shapes |= {f"features.{place}.weight": (outputs, inputs, 3, 3), f"features.{place}.bias": (outputs,)}
            place, inputs = place + 2, outputs
        place += 1
    return shapes


def torchvision_mobilenet_v2() -> dict[str, tuple[int, ...]]:
    """Names and shapes from the table of (t, c, n): 1x1 to t times the channels, depthwise 3x3, 1x1 to c channels."""
    shapes: dict[str, tuple[int, ...]] = {}

    def add(convolve: str, norm: str, *weight: int) -> None:
        vectors = ("weight", "bias", "running_mean", "running_var")
        shapes.update({f"features.{convolve}.weight": weight} | {f"features.{norm}.{v}": weight[:1] for v in vectors})
        shapes[f"features.{norm}.num_batches_tracked"] = ()

    add("0.0", "0.1", 32, 3, 3, 3)
    place, inputs = 1, 32
    for t, c, n in [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]:
        for _ in range(n):
            depthwise = int(t != 1)
            if depthwise:
                add(f"{place}.conv.0.0", f"{place}.conv.0.1", t * inputs, inputs, 1, 1)
            add(f"{place}.conv.{depthwise}.0", f"{place}.conv.{depthwise}.1", t * inputs, 1, 3, 3)
            add(f"{place}.conv.{depthwise + 1}", f"{place}.conv.{depthwise + 2}", c, t * inputs, 1, 1)
            place, inputs = place + 1, c
    add("18.0", "18.1", 1280, 320, 1, 1)
    return shapes


# For each network: names and shapes by the rules above, some of them copied from torchvision's files; then what
# torchvision publishes: parameters without the dense layers; those of the dense layers, and multiply-adds in billions
# at 224x224.
PUBLISHED = {
    "unet_vgg16": (
        torchvision_vgg16(),
        {"features.0.weight": (64, 3, 3, 3), "features.7.bias": (128,), "features.28.weight": (512, 512, 3, 3)},
        14_714_688,
        (4096 * (512 * 49 + 4096 + 1000), 15.47),
    ),
    "unet_mobilenet_v2": (
        torchvision_mobilenet_v2(),
        {
            "features.1.conv.1.weight": (16, 32, 1, 1),
            "features.2.conv.1.0.weight": (96, 1, 3, 3),
            "features.17.conv.3.running_var": (320,),
            "features.18.0.weight": (1280, 320, 1, 1),
        },
        2_223_872,
        (1280 * 1000, 0.301),
    ),
}
PRETRAINED = sorted(PUBLISHED)


@pytest.mark.parametrize("name", PRETRAINED)
def test_an_encoder_has_the_names_and_shapes_of_torchvision(name):
    shapes, some, parameters, _ = PUBLISHED[name]
    with torch.device("meta"):
        encoder = build(name, channels=3, outputs=2).encoder

    assert shapes == {key: tuple(tensor.shape) for key, tensor in encoder.state_dict().items()}
    assert some.items() <= shapes.items()
    assert parameters == count(encoder)


@pytest.mark.parametrize("name", PRETRAINED)
def test_an_encoder_has_the_multiply_adds_that_torchvision_publishes(name):
    """Strides and pools do not show in names and shapes; they do here."""
    dense, published = PUBLISHED[name][3]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build(name, channels=3, outputs=2).encoder(torch.zeros(1, 3, 224, 224))
    digits = len(str(published).split(".")[1])

    assert published == round((counter.get_total_flops() / 2 + dense) / 1e9, digits)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unet_vgg16", [(64, 64), (128, 32), (256, 16), (512, 8), (512, 4), (512, 2)]),
        ("unet_mobilenet_v2", [(16, 32), (24, 16), (32, 8), (96, 4), (1280, 2)]),
    ],
)
def test_an_encoder_returns_its_last_features_of_every_size(name, expected):
    with torch.device("meta"):
        stages = build(name, channels=1, outputs=2).encoder(torch.zeros(1, 1, 64, 64))

    assert [(1, channels, size, size) for channels, size in expected] == [tuple(stage.shape) for stage in stages]


def test_an_inverted_residual_adds_its_input_if_the_shapes_agree():
    """In ten of the seventeen blocks of MobileNetV2. With a projection of zeros the output is the input."""
    features = torch.randn(2, 8, 5, 5)
    same, wider, halved = (unet_mobilenet_v2.InvertedResidual(8, *rest) for rest in ((8, 1, 6), (9, 1, 6), (8, 2, 6)))
    for block in (same, wider, halved):
        nn.init.zeros_(block.conv[-1].weight)

    assert torch.equal(features, same(features))
    assert not wider(features).any()
    assert not halved(features).any()
    encoder = build("unet_mobilenet_v2", channels=3, outputs=2).encoder
    assert 10 == sum(getattr(layer, "residual", False) for layer in encoder.features)


def test_an_encoder_gets_what_imagenet_weights_expect():
    """(x / 255 - mean) / std by channel; with other than three channels the mean of the three numbers of each."""
    pixels = torch.randint(256, (2, 5, 4, 3), dtype=torch.uint8)
    rgb = blocks.ImageNetScaling(3)(batches.inputs(pixels, batches.MEAN, batches.STD))

    for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        torch.testing.assert_close(rgb[:, channel], (pixels[..., channel] / 255 - mean) / std, atol=1e-6, rtol=1e-5)
    for channels in (1, 2, 6):
        bands = torch.cat([pixels, pixels], dim=-1)[..., :channels]
        scaled = blocks.ImageNetScaling(channels)(batches.inputs(bands, batches.MEAN, batches.STD))
        expected = (bands.permute(0, 3, 1, 2) / 255 - 0.449) / 0.226
        torch.testing.assert_close(scaled, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", PRETRAINED)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_scaling_comes_before_the_encoder_and_is_not_in_the_model_file(name, channels):
    network = build(name, channels, outputs=2).eval()
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    images = torch.rand(1, channels, 32, 32)
    network(images)

    assert torch.equal(blocks.ImageNetScaling(channels)(images), seen[0])
    assert {"encoder", "decoder", "head"} == {key.split(".")[0] for key in network.state_dict()}


def test_a_decoder_doubles_its_width_with_every_level_up_to_512():
    with torch.device("meta"):
        decoder = blocks.Decoder([1, 2, 3, 4, 5], bottom=6, width=100)

    assert [512, 512, 400, 200, 100] == [layer.out_channels for layer in decoder.upward]
    assert [517, 516, 403, 202, 101] == [join[0][0].in_channels for join in decoder.joins]


@pytest.mark.parametrize("name", PRETRAINED)
def test_initial_weights_are_he_normal_and_batch_norms_are_the_identity(name):
    """Variance 2 / fan-in, where a depthwise convolution has a fan-in of 9."""
    network = build(name, channels=3, outputs=2)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 5000:
            assert layer.weight.var().item() == pytest.approx(2 / layer.weight[0].numel(), rel=0.15)
        if isinstance(layer, nn.BatchNorm2d):
            assert (1, 0) == (layer.weight.mean(), layer.bias.abs().max())


@pytest.mark.parametrize("name", ["unet", "unet_mobilenet_v2"])
def test_one_value_per_channel_is_refused_in_training_in_the_words_that_training_looks_for(name):
    """One image of one pixel at the bottom has no variance. Two images have one; eval mode needs none."""
    network = build(name, channels=3, outputs=2).train()
    image = torch.zeros(1, 3, 1, 1)

    with pytest.raises(ValueError, match="more than 1 value per channel"):
        network(image)
    assert network(image.expand(2, -1, -1, -1)).shape == (2, 2, 1, 1)
    assert network.eval()(image).shape == (1, 2, 1, 1)


@pytest.mark.parametrize("name", ["fcn", "small_unet", "unet_vgg16"])
def test_one_image_of_one_pixel_trains_without_a_batch_norm_at_the_bottom(name):
    assert build(name, channels=3, outputs=2).train()(torch.zeros(1, 3, 1, 1)).shape == (1, 2, 1, 1)
