"""The model file: weights as safetensors, with a description in the metadata from which the network is rebuilt.

The file records no time, host or run: equal weights and descriptions give equal bytes, so the hash of the file
identifies the model.
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
from segline.core.errors import IntegrityError, PipelineError
from segline.dataset import raw
from segline.model import output_head

# A single key: with several, their order in the file would be that of a hash table.
KEY = "segline"
REMEDY = "Train it again: dvc repro train."
NAMED_REMEDY = "Train one (make repro), fetch it (dvc pull), or name another file."


@dataclass(frozen=True)
class Description:
    """The network by name and parameters, its `head` (see `output_head`) and its K `classes`; C `channels`, the size
    (height, width) it was trained at, and the scaling of its inputs: a byte x enters as (x - mean) / std.

    `class_weights` are those of the loss it was trained with, one per class, or empty.
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

    Raises ParameterError if the network or head is unknown, or if the head does not fit the classes.
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

    Weights of half precision become float32 when they are loaded.
    safetensors contains no code, so a file of unknown origin can do no worse than fail here.
    """
    if not path.is_file():
        raise IntegrityError(path, "missing", REMEDY)
    try:
        with safe_open(path, framework="pt") as archive:
            content = json.loads((archive.metadata() or {})[KEY])
            weights = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 - it is not a dict
        content["classes"] = raw.labels_from_json(content["classes"])
        content["class_weights"] = tuple(content["class_weights"])
        description = Description(**content)
        built = network(description)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise IntegrityError(path, f"not a Segline model ({type(error).__name__}: {error})", REMEDY) from None
    _check(path, weights, built.state_dict())
    built.load_state_dict(weights)
    return built.eval(), description


def read_named(path: Path) -> tuple[nn.Module, Description]:
    """As `read`, for a file that a user named on a command line. Raises only IntegrityError, with remedies that fit."""
    if path.is_dir():
        raise IntegrityError(path, "a folder, expected a model file", NAMED_REMEDY)
    try:
        return read(path)
    except PipelineError as error:  # a ParameterError would name params.yaml, which does not describe this file
        raise IntegrityError(path, error.problem, NAMED_REMEDY) from None


def _check(path: Path, weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    if different := sorted(weights.keys() ^ expected.keys()):
        raise IntegrityError(path, f"missing or unexpected weights: {', '.join(different[:5])}", REMEDY)
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            shapes = f"expected {tuple(tensor.shape)}, got {tuple(weights[name].shape)}"
            raise IntegrityError(path, f"weight {name}: {shapes}", REMEDY)
        if not bool(torch.isfinite(weights[name]).all()):
            raise IntegrityError(path, f"weight {name} is not finite", REMEDY)
