"""Each architecture of segmentation_models_pytorch, as small as it can be asked for."""

from typing import Any

from segline.networks import smp

LITE, VIT = "tu-tf_efficientnet_lite0", "tu-vit_tiny_patch16_224"
NARROW = {"decoder_channels": [32, 16, 16, 8, 8]}
DECODERS: dict[str, dict[str, Any]] = {
    "unet": NARROW,
    "unetplusplus": NARROW,
    "manet": NARROW | {"decoder_pab_channels": 8},
    "linknet": {},
    "fpn": {"decoder_pyramid_channels": 16, "decoder_segmentation_channels": 32},
    "pspnet": {"psp_out_channels": 32},
    "deeplabv3": {"decoder_channels": 16},
    "deeplabv3plus": {"decoder_channels": 16},
    "pan": {"decoder_channels": 16},
    "upernet": {"decoder_channels": 16},
    "segformer": {"decoder_segmentation_channels": 16},
    "dpt": {"decoder_intermediate_channels": [16, 16, 16, 16], "decoder_fusion_channels": 16},
}
ARCHITECTURES = sorted(DECODERS)


def section(architecture: str, encoder: str = "", weights: str = "", weights_sha256: str = "") -> smp.Section:
    """The smallest of this architecture, on EfficientNet-Lite0 or, if it takes nothing else, a vision transformer."""
    encoder = encoder or (VIT if architecture == "dpt" else LITE)
    decoder = DECODERS[architecture]
    return smp.Section(
        architecture=architecture, encoder=encoder, decoder=decoder, weights=weights, weights_sha256=weights_sha256
    )
