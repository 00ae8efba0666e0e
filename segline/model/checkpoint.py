"""The model file: weights as safetensors, with a description in the metadata from which the network is rebuilt.

A SHA-256 in the metadata covers the rest of the metadata and the name, type, shape and bytes of each weight.

The file records no time, host or run: equal weights and descriptions give equal bytes, so the hash of the file
identifies the model.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from segline.core import atomic, plugins, seal, untrusted
from segline.core.errors import IntegrityError, PipelineError
from segline.dataset import objects, raw
from segline.dataset.objects import Objects
from segline.dataset.preparation import FULL, Preparation, Side
from segline.model import output_head
from segline.monitoring import console

# A single key: with several, their order in the file would be that of a hash table.
KEY = "segline"
REMEDY = "Train it again: dvc repro train."
NAMED_REMEDY = "Train one (make repro), fetch it (dvc pull), or name another file."
MAX_BYTES = 1 << 33  # of the file
MAX_TEXT = 1 << 20  # characters of its metadata: 255 classes with names of 200 characters take a third of it

COLDEST, HOTTEST = 0.1, 10.0  # temperatures

# What a file may contain, checked where it is read.
Short = Annotated[str, Field(min_length=1, max_length=100)]

_HALF = (torch.float16, torch.bfloat16)  # read as float32


@dataclass(frozen=True)
class Description:
    """The network by name and parameters, its `head` (see `output_head`) and its K `classes`; the `preparation` of the
    images it was trained on, and the scaling of its inputs: a byte x enters as (x - mean) / std.

    `class_weights` are those of the loss it was trained with, one per class, or empty. `started_from` is the sha256 of
    the model file that its training started from, None if it started anew. With `objects` the classes are K', see
    `segline.dataset.objects`. Probabilities are the softmax of logits / `temperature`, where borders count as their
    class; what is decided, such as the class, is decided at 1, which is also that of files of older versions.
    """

    __pydantic_config__ = raw.CLOSED

    network: Short
    parameters: dict[str, Any]
    head: Short
    preparation: Preparation
    mean: Annotated[float, Field(ge=-1e6, le=1e6)]
    std: Annotated[float, Field(ge=1e-6, le=1e6)]
    classes: Annotated[tuple[raw.Label, ...], Field(min_length=2, max_length=255)]
    class_weights: Annotated[tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...], Field(max_length=255)]
    started_from: raw.Sha256 | None = None
    objects: Objects | None = None
    temperature: Annotated[float, Field(ge=COLDEST, le=HOTTEST)] = 1.0

    @property
    def channels(self) -> int:
        """Of the inputs."""
        return self.preparation.channels


@dataclass(frozen=True, kw_only=True)
class _Metadata(Description):
    __pydantic_config__ = raw.CLOSED

    sha256: raw.Sha256 | None = None  # None in files of older versions


@dataclass(frozen=True, kw_only=True)
class _OldMetadata:
    """Instead of the `preparation` in files of older versions, whose images were stretched."""

    channels: Literal[1, 3]
    height: Side
    width: Side

    @property
    def preparation(self) -> Preparation:
        bands: Literal["rgb", "gray"] = "rgb" if self.channels == 3 else "gray"
        return Preparation("stretch", self.height, self.width, 1.0, 0.0, bands, "check", "refuse", FULL)


def network(description: Description) -> nn.Module:
    """A new network as described, with weights drawn from torch's global generator, channels last in memory.

    Raises ParameterError if the network or head is unknown, or if the head does not fit the classes; ValueError for
    parameters that the network does not have.
    """
    module = plugins.choose("segline.networks", description.network, key="model.name")
    try:
        section = module.Section.model_validate(description.parameters)
    except ValidationError as error:
        raise ValueError(f"parameters of {description.network}: {untrusted.mismatch(error)}") from None
    outputs = output_head.outputs(description.head, len(description.classes))
    built: nn.Module = module.build(section, description.channels, outputs)
    built.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
    return built


def write(path: Path, weights: dict[str, Tensor], description: Description) -> None:
    """Writes weights and description to `path`; equal values give equal bytes."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    content = asdict(description) | {"preparation": description.preparation.as_dict()}
    for name, without in (("started_from", None), ("objects", None), ("temperature", 1.0)):
        if content[name] == without:  # older versions do not know it
            del content[name]
    metadata = {KEY: seal.dumps(content, _digest(tensors))}
    with atomic.file(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def read(path: Path) -> tuple[nn.Module, Description]:
    """The trained network in eval mode on the CPU, and its description. Raises IntegrityError naming what differs.

    Weights of half precision become float32 when they are loaded. A file without a digest, of an older version, is
    read with a warning. safetensors contains no code, so a file of unknown origin can do no worse than fail here.
    """
    try:
        text, weights = _content(path)
        intact = seal.is_intact(text, _digest(weights))
        if intact is False:
            raise IntegrityError(path, "damaged: its content does not match its own sha256", REMEDY)
        description = _parse(text)
        with torch.device("meta"):  # compared before memory is taken for what the description claims
            _check(path, weights, network(description).state_dict())
        built = network(description)
    except OSError as error:
        raise IntegrityError(path, untrusted.problem(error), REMEDY) from None
    except (SafetensorError, ValueError) as error:
        raise IntegrityError(path, f"not a Segline model ({error})", REMEDY) from None
    if intact is None:
        console.warn(f"{path}: no sha256, as it is of an older version: damage to it would not be noticed")
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


def _content(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Segline's metadata and the weights. Raises OSError, SafetensorError or ValueError."""
    with untrusted.opened(path, MAX_BYTES):  # safetensors would say "no such file" whatever is wrong
        pass
    with safe_open(path, framework="pt") as archive:
        text = (archive.metadata() or {}).get(KEY)
        weights = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 - it is not a dict
    if text is None:
        raise ValueError(f"no {KEY!r} in its metadata")
    if len(text) > MAX_TEXT:
        raise ValueError(f"metadata of {len(text)} characters, expected at most {MAX_TEXT}")
    return text, weights


def _parse(text: str) -> Description:
    """The description in the metadata. Raises ValueError."""
    fields_found = untrusted.parse_json(text, TypeAdapter(dict[str, Any]))
    if "preparation" not in fields_found:
        text = _with_preparation(fields_found)
    content = untrusted.parse_json(text, TypeAdapter(_Metadata))
    description = Description(**{field.name: getattr(content, field.name) for field in fields(Description)})
    name, count = Counter(label.name for label in description.classes).most_common(1)[0]
    if count > 1:
        raise ValueError(f"classes: duplicate name {name!r}")
    objects.require_classes(description.classes, description.objects)
    if len(description.class_weights) not in (0, len(description.classes)):
        raise ValueError(f"{len(description.class_weights)} class_weights for {len(description.classes)} classes")
    return description


def _with_preparation(found: dict[str, Any]) -> str:
    """The metadata of an older version as this one writes them. Raises ValueError."""
    old = {field.name: found.pop(field.name) for field in fields(_OldMetadata) if field.name in found}
    content = untrusted.parse_json(json.dumps(old), TypeAdapter(_OldMetadata))
    return json.dumps(found | {"preparation": content.preparation.as_dict()})


def _digest(weights: Mapping[str, Tensor]) -> bytes:
    """SHA-256 of the name, type, shape and bytes of each tensor (contiguous, on the CPU), in the order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.digest()


def _check(path: Path, weights: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    if different := sorted(weights.keys() ^ expected.keys()):
        raise IntegrityError(path, f"missing or unexpected weights: {', '.join(different[:5])}", REMEDY)
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            shapes = f"expected {tuple(tensor.shape)}, got {tuple(weights[name].shape)}"
            raise IntegrityError(path, f"weight {name}: {shapes}", REMEDY)
        if weights[name].dtype not in (tensor.dtype, *(_HALF if tensor.is_floating_point() else ())):
            raise IntegrityError(path, f"weight {name}: {weights[name].dtype}, expected {tensor.dtype}", REMEDY)
        if not bool(torch.isfinite(weights[name]).all()):
            raise IntegrityError(path, f"weight {name} is not finite", REMEDY)
