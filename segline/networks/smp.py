"""The networks of segmentation_models_pytorch (SMP): one of its architectures on an encoder of its own or of timm.

Its packages are the extra `encoders`. They are imported when a network is built, so that whoever chooses another
network does not need them. No weights are fetched: `weights` names a file, as for the other networks.
Source: Iakubovskii 2019, https://github.com/qubvel-org/segmentation_models.pytorch
"""

import importlib
import inspect
import warnings
from types import ModuleType
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from segline.core import params
from segline.core.errors import ParameterError, suggestion
from segline.networks import blocks

WHERE = f"{params.FILE}: model.smp"
INSTALL = "make setup EXTRAS=encoders"
TIMM = "tu-"  # before the name of an encoder of timm, as SMP writes it

# What the pipeline itself decides, or what would fetch weights, return probabilities or a second output.
RESERVED = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params")

# Mean and std of inputs in 0..1 for encoders of SMP's own that were not trained with those of ImageNet. The settings
# of the others either contain them or are those of ImageNet.
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DPN = ((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)
OWN_SCALING = {"inceptionresnetv2": HALF, "inceptionv4": HALF, "xception": HALF, "dpn": DPN}

# Strides of the encoder that make one of the network, and the least number of them on a side: the decoder halves the
# encoder's smallest features once more, or pools them by 8.
FACTOR = {"dpt": 2}
LEAST = {"pan": 8}
SMALLEST = 32  # pixels on a side, for encoders that pool by 32 whatever depth is used

Name = Annotated[str, Field(min_length=1, max_length=100)]
Number = Annotated[int, Field(ge=-4096, le=4096)] | Annotated[float, Field(ge=-4096, le=4096)]
Value = Annotated[
    bool | Number | Name | Annotated[list[Number], Field(max_length=32)] | None,
    params.expecting("true, false, null, text, a number of at most 4096, or a list of such numbers"),
]


class Section(params.Section):
    """`encoder` is a name of SMP, or `tu-` and one of timm; `decoder` holds parameters of SMP's architecture.

    `weights` is a file for the encoder ("" for none) and its sha256.
    """

    architecture: Name
    encoder: Name
    decoder: Annotated[dict[Name, Value], Field(max_length=32)]
    weights: str
    weights_sha256: str = Field(pattern="^([0-9a-f]{64})?$")


class Network(nn.Module):
    """Images in -1..1 (N, C, H, W) -> logits (N, K, H, W), any H and W.

    SMP's parts have `stride`, and need sides that are multiples of it and at least `least`, itself a multiple.
    """

    def __init__(self, model: Any, scaling: blocks.InputScaling, stride: int, least: int) -> None:
        super().__init__()
        self.scaling = scaling
        self.encoder, self.decoder, self.head = model.encoder, model.decoder, model.segmentation_head
        self.stride, self.least = stride, least

    def forward(self, images: Tensor) -> Tensor:
        return blocks.at_multiple_of(self.stride, images, self._forward, self.least)

    def _forward(self, images: Tensor) -> Tensor:
        features = self.encoder(self.scaling(images))
        # That of a vision transformer returns its tokens beside the features.
        decoded = self.decoder(*features) if isinstance(features, tuple) else self.decoder(features)
        logits: Tensor = self.head(decoded)
        return logits


def build(section: Section, channels: int, outputs: int) -> nn.Module:
    """The network for C channels and K outputs, weights drawn from torch's global generator by SMP's and timm's rules.

    Raises ParameterError if a package is missing, a name unknown, the parameters unfit for the architecture, or if it
    cannot give images of any size back at their own size on this encoder.
    """
    architectures = _package("segmentation_models_pytorch").MODEL_ARCHITECTURES_MAPPING
    _require_known("architecture", section.architecture, list(architectures))
    _require_known("encoder", section.encoder, encoders())
    _require_parameters(section, architectures[section.architecture])
    _try(section, channels, outputs)
    return _network(section, channels, outputs)


def _network(section: Section, channels: int, outputs: int) -> Network:
    own = {"encoder_weights": None, "in_channels": channels, "classes": outputs}
    if section.architecture == "dpt":  # no classifier in the encoder
        own |= {"dynamic_img_size": True, "num_classes": 0}
    elif section.encoder.startswith(f"{TIMM}swin"):
        own |= {"strict_img_size": False}
    architecture = _package("segmentation_models_pytorch").MODEL_ARCHITECTURES_MAPPING[section.architecture]
    # The warnings are about names and defaults that SMP means to change.
    with warnings.catch_warnings(action="ignore"), _NumbersHere():
        model = architecture(section.encoder, **own, **section.decoder)
    stride = model.encoder.output_stride * FACTOR.get(section.architecture, 1)
    inputs = blocks.InputScaling(*scaling(section.encoder), channels, persistent=True)
    least = stride * max(LEAST.get(section.architecture, 1), -(-SMALLEST // stride))
    return Network(model, inputs, stride, least)


class _NumbersHere(TorchFunctionMode):
    """Computes `linspace` on the CPU: SMP takes rates of dropout from it, which meta tensors do not have."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        device = {"device": "cpu"} if func is torch.linspace else {}
        return func(*args, **(kwargs or {}) | device)


def _try(section: Section, channels: int, outputs: int) -> None:
    """Builds the network and applies it without memory for either. Raises ParameterError if that fails."""
    combination = f"{section.architecture} on {section.encoder}"
    try:
        with torch.device("meta"), torch.no_grad():
            network = _network(section, channels, outputs).eval()
            images = torch.empty(1, channels, network.least, network.least + network.stride)
            sides = tuple(network(images).shape[-2:])
    except Exception as error:  # noqa: BLE001 - the libraries raise all kinds
        problem = f"{combination} does not work ({type(error).__name__}: {str(error)[:200]})"
        encoder = "a vision transformer of timm (tu-vit_...)" if section.architecture == "dpt" else "another encoder"
        raise ParameterError(WHERE, problem, f"Choose {encoder} or other parameters of the decoder.") from None
    if sides != images.shape[-2:]:
        problem = f"{combination} gives {sides[0]} pixels for {images.shape[-2]}"
        raise ParameterError(f"{WHERE}.decoder", problem, "Let `upsampling` fit encoder_depth, or leave both out.")


def encoders() -> list[str]:
    """All names of encoders, in the words of `model.smp.encoder`; those of timm with and without their weights' tag."""
    listed = _package("timm").list_models
    own = _package("segmentation_models_pytorch").encoders.get_encoder_names()
    return [*own, *(f"{TIMM}{name}" for name in {**dict.fromkeys(listed()), **dict.fromkeys(listed(pretrained=True))})]


def published_names(section: Section) -> set[str]:
    """Names of tensors in files of the encoder's weights that the encoder may do without, such as its classifier's."""
    if not section.encoder.startswith(TIMM):
        return set()
    with torch.device("meta"):
        return set(_package("timm").create_model(section.encoder.removeprefix(TIMM)).state_dict())


def scaling(encoder: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of R, G and B in 0..1 that the encoder's published weights were trained with."""
    if encoder.startswith(TIMM):
        settings = vars(_package("timm").models.get_pretrained_cfg(encoder.removeprefix(TIMM)))
    else:
        known = _package("segmentation_models_pytorch").encoders.encoders[encoder]["pretrained_settings"]
        settings = known.get("imagenet", {})
    default = next((both for start, both in OWN_SCALING.items() if encoder.startswith(start)), None)
    mean, std = default or (blocks.IMAGENET_MEAN, blocks.IMAGENET_STD)
    return tuple(settings.get("mean", mean)), tuple(settings.get("std", std))


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        problem = f"smp needs the package {error.name}, which is missing here: {INSTALL}"
        raise ParameterError(f"{params.FILE}: model.name", problem, "Or choose another network.") from None
    except (ImportError, RuntimeError, OSError) as error:
        problem = f"smp needs the package {name}, which cannot be imported ({error})"
        remedy = f"Beside the CPU build of torch take that of torchvision: UV_TORCH_BACKEND=cpu {INSTALL}"
        raise ParameterError(f"{params.FILE}: model.name", problem, remedy) from None


def _require_known(key: str, name: str, known: list[str]) -> None:
    if name not in known:
        remedy = suggestion(name, known, "See docs/networks.md for the names.")
        raise ParameterError(f"{WHERE}.{key}", f"{name!r} is not in segmentation_models_pytorch", remedy)


def _require_parameters(section: Section, architecture: type) -> None:
    """Only those that the architecture names: it passes others on to the encoder, which could read any file."""
    parameters = inspect.signature(architecture).parameters.values()
    known = [each.name for each in parameters if each.default is not each.empty and each.name not in RESERVED]
    for key in section.decoder:
        if key not in known:
            remedy = suggestion(key, known, f"It has: {', '.join(known)}.")
            raise ParameterError(f"{WHERE}.decoder.{key}", f"not a parameter of {section.architecture}", remedy)
