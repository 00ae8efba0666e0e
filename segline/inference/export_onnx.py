"""A trained model -> an ONNX file for any batch, height and width, kept only if its logits equal those of torch.

N images, C channels, K classes, H x W pixels. The packages of the extra `onnx` are imported inside functions: nothing
else needs them.
"""

import hashlib
import json
import warnings
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segline.core import atomic
from segline.core.errors import IntegrityError, ParameterError, PipelineError
from segline.model import checkpoint, forward, output_head
from segline.monitoring import console

SUFFIX = ".onnx"
INSTALL = "make setup EXTRAS=onnx"
OPSET = 17
LARGEST = 2**31 - 2**20  # bytes of weights: protobuf allows 2 GiB, and the graph needs some of them
AXES = {0: "batch", 2: "height", 3: "width"}

# The largest difference of logits, relative to the largest logit (or to 1 if that is larger). With random weights the
# networks reach 2e-5, MobileNetV2 the most; a wrong trace is off by far more than rounding.
TOLERANCE = 1e-4

CONTRACT = """\
Input `images`: float32 (batch, channels, height, width) of any batch, height and width; the channels are the bands of
`preparation`; a byte x enters as (x - mean) / std. Output `logits`: float32 (batch, classes, height, width); the class
of a pixel is that of its highest logit, in the order of `classes`. Trained at the `height` and `width` of the metadata.
`preparation` says how an image becomes such bytes: cut or resized (fit), which bands, alpha and Exif turns, and a
sample v as the byte round(255 (v - low) / (high - low)), cut to 0..255; full means the range of its type."""


class _ClassLogits(nn.Module):
    """A network and its head (see `segline.model.output_head`): images (N, C, H, W) -> logits (N, K, H, W)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return output_head.class_logits(self.network(images))


def run(model: Path, out: Path) -> None:
    """Exports the model file to `out` and prints how close to torch it is. Raises PipelineError; see `write`."""
    if out.suffix != SUFFIX:
        problem = f"expected a name that ends in {SUFFIX}, got {out.name!r}"
        raise ParameterError("--out", problem, f"Write {out.with_suffix(SUFFIX)}")
    network, description = checkpoint.read_named(model)
    difference = write(out, network, description, hashlib.sha256(model.read_bytes()).hexdigest())
    size = out.stat().st_size / 1e6
    console.say(f"export: {model} -> {out}: {size:.1f} MB, logits within {difference:.1e} of torch's")


def write(path: Path, network: nn.Module, description: checkpoint.Description, sha256: str) -> float:
    """Writes `path` after onnxruntime has reproduced torch's logits; returns the largest difference, as in `TOLERANCE`.

    `sha256` is that of the model file. Equal arguments give equal bytes. Raises PipelineError without the extra `onnx`
    or for a network beyond `LARGEST`, and IntegrityError if the logits differ; `path` then stays as it was.
    """
    onnx, onnxruntime = _packages()
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    if weights > LARGEST:
        problem = f"{weights} bytes of weights, and an ONNX file can contain {LARGEST}"
        raise PipelineError(path, problem, "Train a narrower network.")
    with atomic.file(path) as temporary:
        _trace(network, description.channels, temporary)
        content = onnx.load(temporary)
        content.doc_string = CONTRACT
        onnx.helper.set_model_props(content, _metadata(description, sha256))
        temporary.write_bytes(content.SerializeToString())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # by default it also pins threads to cores
        options.log_severity_level = 4  # errors are reported here, in one line
        session = onnxruntime.InferenceSession(temporary, options, providers=["CPUExecutionProvider"])
        return max(_difference(path, session, network, images) for images in _inputs(description))


def _packages() -> tuple[ModuleType, ModuleType]:
    try:
        import onnx  # noqa: PLC0415
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        problem = f"it needs packages that are not installed ({error})"
        raise PipelineError("segline export", problem, f"Install them: {INSTALL}") from None
    return onnx, onnxruntime


def _trace(network: nn.Module, channels: int, path: Path) -> None:
    """Writes ONNX with torch's older exporter, which traces one example.

    An example of odd size takes the branch of `blocks.at_multiple_of` that pads, which is right for all sizes: it pads
    by 0 where nothing is missing. torch plans to remove this exporter; the newer one (`dynamo=True`, Dim.DYNAMIC for
    each axis) works as well with such an example, but needs two more packages and 3 to 27 s of CPU time, not under 1 s.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the newer exporter, and of branches that the trace does not follow
        torch.onnx.export(
            _ClassLogits(network).eval(),
            (torch.zeros(1, channels, 5, 7),),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": AXES, "logits": AXES},
        )


def _metadata(description: checkpoint.Description, sha256: str) -> dict[str, str]:
    return {
        "classes": json.dumps([{"name": label.name, "rgb": label.rgb} for label in description.classes]),
        "mean": str(description.mean),
        "std": str(description.std),
        "height": str(description.preparation.height),
        "width": str(description.preparation.width),
        "preparation": json.dumps(description.preparation.as_dict()),
        "network": description.network,
        "model_sha256": sha256,
    }


def _inputs(description: checkpoint.Description) -> list[Tensor]:
    """Scaled noise (N, C, H, W): of the model's own size, of one pixel, and of random sizes, odd and even."""
    draws = np.random.default_rng(0)
    sizes = [(1, description.preparation.height, description.preparation.width), (2, 1, 1)]
    for odd in np.ndindex(2, 2):
        height, width = 2 * draws.integers(8, 48, 2) + odd
        sizes.append((int(draws.integers(1, 4)), int(height), int(width)))
    noise = [draws.integers(0, 256, (count, description.channels, *size), np.uint8) for count, *size in sizes]
    return [(torch.from_numpy(values).float() - description.mean) / description.std for values in noise]


def _difference(path: Path, session: Any, network: nn.Module, images: Tensor) -> float:
    remedy = "Nothing was written. Does the network depend on the input size in a way that a trace misses?"
    size = "x".join(str(side) for side in images.shape)
    try:
        actual = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    except Exception as error:  # onnxruntime raises no narrower class
        raise IntegrityError(path, f"onnxruntime fails on {size} ({error})", remedy) from error
    expected = forward.logits(network, images)
    if actual.shape != expected.shape:
        shapes = f"expected logits {tuple(expected.shape)}, got {tuple(actual.shape)}"
        raise IntegrityError(path, f"{shapes} on {size}", remedy)
    difference = float((actual - expected).abs().max() / expected.abs().max().clamp(min=1))
    if not difference <= TOLERANCE:  # NaN too
        tolerance = f"expected torch's logits within {TOLERANCE:g} of the largest"
        raise IntegrityError(path, f"{tolerance}, got {difference:.1e} on {size}", remedy)
    return difference


def command(args: Namespace) -> None:
    """`segline export`."""
    run(args.model, args.out)
