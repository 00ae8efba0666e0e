"""Weights for the encoder of a network, from a file that uses torchvision's names, such as its ImageNet weights.

params.yaml names the file by path and sha256. DVC tracks these two and not the file, so the file is verified before
anything in it is parsed. The model file records the hash, not the path.
"""

import hashlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from segline.core import params, plugins, untrusted
from segline.core.errors import IntegrityError, ParameterError

DENSE = "classifier."  # torchvision's dense layers, which a segmentation network does not have
SHOWN = 5
MAX_BYTES = 1 << 30  # of a file: torchvision's largest, vgg16 with its dense layers, has half of it
FROM_SCRATCH = 'write "" for both to start from scratch'


def load(network: nn.Module, document: params.Document) -> None:
    """Loads the weights that params.yaml names into `network.encoder`; leaves it as it is if none are named.

    If the encoder takes one channel, the weights of its first convolution are summed over R, G and B: for a gray input
    the result is that of the file's own weights with this input in all three. (The scaling before it is a mean over R,
    G and B, which differ by 0.04 in the mean and 2 % in the deviation.) Raises what `read` and `require_channels` do.
    """
    weights = read(document)
    if not weights:
        return
    encoder = network.get_submodule("encoder")
    first, own = next(iter(encoder.state_dict().items()))
    require_channels(document, own.shape[1])
    if own.shape[1] == 1:
        weights[first] = weights[first].sum(dim=1, keepdim=True)
    encoder.load_state_dict(weights)


def require_channels(document: params.Document, channels: int) -> None:
    """Raises ParameterError if weights are named and images have other than one or three channels."""
    name = params.text(document, "model.name")
    if channels not in (1, 3) and params.find(document, f"model.{name}").get("weights"):
        problem = f"made for R, G and B, but images have {channels} channels (preprocess.bands)"
        remedy = f"Choose rgb, gray, or one or three bands; or {FROM_SCRATCH}."
        raise ParameterError(f"{params.FILE}: model.{name}.weights", problem, remedy)


def read(document: params.Document) -> dict[str, Tensor]:
    """The weights that the chosen network's section names, which fit its encoder of three channels; empty if none.

    Raises ParameterError for a path or hash that cannot be used, IntegrityError for a file that has another hash,
    contains anything but tensors, or whose tensors are not those of the encoder.
    """
    name = params.text(document, "model.name")
    module = plugins.choose("segline.networks", name, key="model.name")
    section = params.section(document, f"model.{name}", module.Section)
    path, sha256 = (getattr(section, key, "") for key in ("weights", "weights_sha256"))
    if not path and not sha256:
        return {}
    content = _parse(path, _verified(path, sha256, f"{params.FILE}: model.{name}.weights"))
    weights = {key: tensor for key, tensor in content.items() if not key.startswith(DENSE)}
    with torch.device("meta"):
        expected = module.build(section, channels=3, outputs=1).encoder.state_dict()
    if mismatches := list(_mismatches(weights, expected)):
        more = f" and {len(mismatches) - SHOWN} more" if len(mismatches) > SHOWN else ""
        problem = f"not the encoder of {name}: {', '.join(mismatches[:SHOWN])}{more}"
        raise IntegrityError(path, problem, "Name a file of torchvision's weights for this encoder.")
    return weights


def described(section: params.Section) -> dict[str, Any]:
    """The section as the model file records it: with the hash of the weights but not their path."""
    return {key: "" if key == "weights" else value for key, value in section.model_dump().items()}


def _verified(path: str, sha256: str, where: str) -> bytes:
    """The bytes of the file, which have that hash."""
    if not path.endswith((".safetensors", ".pth")):
        problem = f"expected a .safetensors or .pth file, got {path!r}"
        raise ParameterError(where, problem, f"Name such a file, or {FROM_SCRATCH}.")
    if not sha256:
        remedy = f"DVC identifies the file by it: write the 64 digits that `sha256sum {path}` prints."
        raise ParameterError(f"{where}_sha256", "empty, though weights names a file", remedy)
    try:
        content = untrusted.read(Path(path), MAX_BYTES)
    except OSError as error:
        remedy = f"Put torchvision's file there, or {FROM_SCRATCH}."
        raise ParameterError(where, f"{path}: {untrusted.problem(error)}", remedy) from None
    if (actual := hashlib.sha256(content).hexdigest()) != sha256:
        remedy = f"Use the file with that hash, or write the hash of this one into {where}_sha256."
        raise IntegrityError(path, f"sha256 expected {sha256}, got {actual}", remedy)
    return content


def _parse(path: str, content: bytes) -> dict[str, Tensor]:
    """Tensors by name. A pickle that contains anything but tensors is refused without running it."""
    try:
        if path.endswith(".safetensors"):
            return safetensors.torch.load(content)
        with warnings.catch_warnings(action="ignore"):  # about pickle protocols; unreadable files are refused below
            table = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - fuzzing raised a dozen kinds from broken pickles
        raise _not_tensors(path, type(error).__name__) from None
    if not isinstance(table, dict) or not all(isinstance(value, Tensor) for value in table.values()):
        raise _not_tensors(path, type(table).__name__)
    return {str(key): tensor for key, tensor in table.items()}


def _not_tensors(path: str, kind: str) -> IntegrityError:
    remedy = "Save `network.state_dict()` or, better, use safetensors."
    return IntegrityError(path, f"not a plain table of names and tensors ({kind}); no code in it was run", remedy)


def _mismatches(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> Iterator[str]:
    """What is wrong with each tensor, by name."""
    yield from (f"{key} is missing" for key in expected if key not in weights)
    yield from (f"{key} is not part of it" for key in weights if key not in expected)
    for key in (key for key in expected if key in weights):
        if weights[key].shape != expected[key].shape:
            yield f"{key} has shape {tuple(weights[key].shape)}, expected {tuple(expected[key].shape)}"
        elif weights[key].is_floating_point() != expected[key].is_floating_point():
            yield f"{key} is {weights[key].dtype}, expected {expected[key].dtype}"
        elif not bool(torch.isfinite(weights[key]).all()):
            yield f"{key} is not finite"
