"""Weights for the encoder of a network, from a file of torchvision, timm or segmentation_models_pytorch (SMP).

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

SHOWN = 5
KINDS = {
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.int8, torch.int16, torch.int32,
    torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64,
}  # fmt: skip
MAX_BYTES = 1 << 30  # of a file: torchvision's largest, vgg16 with its dense layers, has half of it
FROM_SCRATCH = 'write "" for both to start from scratch'


def load(network: nn.Module, document: params.Document) -> None:
    """Loads the weights that params.yaml names into `network.encoder`; leaves it as it is if none are named.

    If the encoder takes other than three channels, its first convolution gets what timm and SMP would give it: for one
    channel the sum over R, G and B, else the weights of R, G, B, R, ... times 3 / C. For a gray input the sum gives the
    result of the file's own weights with this input in all three. (The scaling before it is a mean over R, G and B;
    ImageNet's differ by 0.04 in the mean and 2 % in the deviation.) Raises what `read` does, and IntegrityError if the
    first convolution does not see the channels one by one, such as that of TResNet, and they are not three.
    """
    weights = read(document)
    if not weights:
        return
    encoder = network.get_submodule("encoder")
    own = encoder.state_dict()
    where = f"{params.FILE}: model.{params.text(document, 'model.name')}.weights"
    encoder.load_state_dict({key: _for_channels(where, key, each, own[key].shape) for key, each in weights.items()})


def _for_channels(where: str, key: str, weight: Tensor, shape: torch.Size) -> Tensor:
    """A weight whose shape differs, that of a first convolution (O, 3, h, w), for C channels: (O, C, h, w).

    Raises IntegrityError for one of another kind.
    """
    if weight.shape == shape:
        return weight
    if weight.shape != (*shape[:1], 3, *shape[2:]):
        problem = f"{key} has shape {tuple(weight.shape)} for three channels, and no known way to {tuple(shape)}"
        raise IntegrityError(where, problem, f"Use data of three bands or another encoder, or {FROM_SCRATCH}.")
    channels = shape[1]
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, [channel % 3 for channel in range(channels)]] * (3 / channels)


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
    content = parse(path, _verified(path, sha256, f"{params.FILE}: model.{name}.weights"))
    with torch.device("meta"):
        expected = module.build(section, channels=3, outputs=1).encoder.state_dict()
    spare = module.published_names(section) if hasattr(module, "published_names") else set()
    weights, left_over = _named_as(expected, content, spare)
    if mismatches := list(_mismatches(weights, expected, left_over)):
        more = f" and {len(mismatches) - SHOWN} more" if len(mismatches) > SHOWN else ""
        problem = f"not the encoder of {name}: {', '.join(mismatches[:SHOWN])}{more}"
        raise IntegrityError(path, problem, "Name a file of weights for this encoder, of torchvision, timm or SMP.")
    return weights


def _named_as(
    expected: dict[str, Tensor], content: dict[str, Tensor], spare: set[str]
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a file by their names in the encoder, and the names of those that it should not contain.

    A whole network of SMP has its encoder's tensors after "encoder.". timm writes `stages.0` or `stages_0`, and SMP
    puts "model." before timm's names. Left over may be what is in `spare`, or in parts (`classifier.`) that the encoder
    has not at all. Counts of batches, which old files lack and nothing reads, are 0.
    """
    prefix = "encoder." if any(key.startswith("encoder.") for key in content) else ""
    inner = {key.removeprefix(prefix): tensor for key, tensor in content.items() if key.startswith(prefix)}
    by_flat_name = {_flat(key): key for key in inner}
    weights, used = {}, set()
    for name, tensor in expected.items():
        flat = _flat(name)
        while flat not in by_flat_name and flat.startswith("model_"):
            flat = flat.removeprefix("model_")
        if flat in by_flat_name:
            used.add(by_flat_name[flat])
            weights[name] = inner[by_flat_name[flat]]
        elif name.endswith("num_batches_tracked"):
            weights[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
    parts = {name.split(".")[0] for name in expected}
    left_over = (key for key in inner if key not in used | spare and (spare or key.split(".")[0] in parts))
    return weights, sorted(left_over)  # safetensors has no order of its own


def _flat(name: str) -> str:
    return name.replace(".", "_")


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
        remedy = f"Put the file there, or {FROM_SCRATCH}."
        raise ParameterError(where, f"{path}: {untrusted.problem(error)}", remedy) from None
    if (actual := hashlib.sha256(content).hexdigest()) != sha256:
        remedy = f"Use the file with that hash, or write the hash of this one into {where}_sha256."
        raise IntegrityError(path, f"sha256 expected {sha256}, got {actual}", remedy)
    return content


def parse(path: str, content: bytes) -> dict[str, Tensor]:
    """Tensors by name, of the content of a .safetensors or .pth file at `path`.

    Raises IntegrityError if it contains anything but dense tensors of floats, integers or truth values; a pickle is
    refused without running it.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickle protocols; unreadable files are refused below
            if path.endswith(".safetensors"):
                table = safetensors.torch.load(content)
            else:
                table = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - fuzzing raised a dozen kinds from broken pickles
        raise _not_tensors(path, type(error).__name__) from None
    if not isinstance(table, dict) or not all(isinstance(value, Tensor) for value in table.values()):
        raise _not_tensors(path, type(table).__name__)
    for key, tensor in table.items():
        if not _is_usable(tensor):
            problem = f"{key} is {_about(tensor)}, expected a dense tensor of floats or integers"
            raise IntegrityError(path, problem, "Convert it, such as with `tensor.to_dense().float()`.")
    return {str(key): tensor for key, tensor in table.items()}


def _is_usable(tensor: Tensor) -> bool:
    """Whether it has values on the CPU that can be compared and copied; torch saves other kinds as well."""
    dense = tensor.layout == torch.strided and not tensor.is_nested and tensor.device.type == "cpu"
    return dense and tensor.dtype in KINDS


def _about(tensor: Tensor) -> str:
    kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
    return f"{kind} {str(tensor.dtype).removeprefix('torch.')} on {tensor.device.type}"


def _not_tensors(path: str, kind: str) -> IntegrityError:
    remedy = "Save `network.state_dict()` or, better, use safetensors."
    return IntegrityError(path, f"not a plain table of names and tensors ({kind}); no code in it was run", remedy)


def _mismatches(weights: dict[str, Tensor], expected: dict[str, Tensor], left_over: list[str]) -> Iterator[str]:
    """What is wrong with each tensor, by name."""
    yield from (f"{key} is missing" for key in expected if key not in weights)
    yield from (f"{key} is not part of it" for key in left_over)
    for key in (key for key in expected if key in weights):
        if weights[key].shape != expected[key].shape:
            yield f"{key} has shape {tuple(weights[key].shape)}, expected {tuple(expected[key].shape)}"
        elif weights[key].is_floating_point() != expected[key].is_floating_point():
            yield f"{key} is {weights[key].dtype}, expected {expected[key].dtype}"
        elif not bool(torch.isfinite(weights[key]).all()):
            yield f"{key} is not finite"
