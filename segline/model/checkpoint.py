"""The model file: weights in safetensors, and in its metadata what rebuilds the network.

It says nothing about time, host or run: equal weights and metadata give equal bytes, so the hash of the file is the
identity of the model.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from segline.core import atomic, plugins
from segline.core.errors import IntegrityError
from segline.dataset import raw
from segline.model import output_head

# One key alone: with several, their order in the file would follow a hash table.
KEY = "segline"
REMEDY = "Train it again: dvc repro train."


@dataclass(frozen=True)
class Description:
    """What a model is: its network by name and parameters, its `head` (see `segline.model.output_head`), K `classes`, input scaling
    (x - mean) / std of bytes, input size (height, width) it was trained at, and C `channels`.

    `class_weights` are those of the loss it was trained with, one a class, or none.
    """

    network: str
    parameters: dict[str, Any]
    head: str
    channels: int
    height: int
    width: int
    mean: float
    std: float
    classes: tuple[raw.Label, ...]
    class_weights: tuple[float, ...]


def network(description: Description) -> nn.Module:
    """A new network as described, with weights drawn from torch's global generator, channels last in memory.

    Raises ParameterError if there is no such network or head, or if the head does not fit the classes.
    """
    module = plugins.choose("segline.networks", description.network, key="model.name")
    section = module.Section.model_validate(description.parameters)
    outputs = output_head.outputs(description.head, len(description.classes))
    built: nn.Module = module.build(section, description.channels, outputs)
    built.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
    return built


def write(path: Path, weights: dict[str, Tensor], description: Description) -> None:
    """Writes weights and description to `path`; equal values give equal bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    metadata = {KEY: json.dumps(asdict(description), sort_keys=True)}
    with atomic.file(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def read(path: Path) -> tuple[nn.Module, Description]:
    """The trained network in eval mode on the CPU, and its description. Raises IntegrityError naming what differs.

    Weights of half precision become float32 as they are loaded.
    safetensors holds no code, so a file of unknown origin can do no worse than fail here.
    """
    if not path.is_file():
        raise IntegrityError(path, "missing", REMEDY)
    try:
        with safe_open(path, framework="pt") as archive:
            content = json.loads((archive.metadata() or {})[KEY])
            weights = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 - it is no dict
        content["classes"] = raw.labels_from_json(content["classes"])
        content["class_weights"] = tuple(content["class_weights"])
        description = Description(**content)
        built = network(description)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise IntegrityError(path, f"not a Segline model ({type(error).__name__}: {error})", REMEDY) from None
    _check(path, weights, built.state_dict())
    built.load_state_dict(weights)
    return built.eval(), description


def _check(path: Path, found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    if different := sorted(found.keys() ^ expected.keys()):
        raise IntegrityError(path, f"weights missing or too many: {', '.join(different[:5])}", REMEDY)
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            shapes = f"expected {tuple(tensor.shape)}, got {tuple(found[name].shape)}"
            raise IntegrityError(path, f"weight {name}: {shapes}", REMEDY)
        if not bool(torch.isfinite(found[name]).all()):
            raise IntegrityError(path, f"weight {name} is not finite", REMEDY)
