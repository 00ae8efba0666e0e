"""An interrupted training on disk: its `State`, and the key of the training it belongs to.

The file is not one of DVC's outputs, which DVC removes before a stage runs. Like a download cache it saves work and
changes no output byte: the training with the same key resumes from it, and ends with the bytes of one that was never
interrupted. Global generators are not saved: data are drawn from (seed, epoch, sample), and dropout is reseeded at
every step.
"""

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from segline.core import atomic
from segline.core.errors import IntegrityError
from segline.dataset.history import Epoch
from segline.model import device
from segline.monitoring import console
from segline.training.state import State

FOLDER = Path(".segline")  # in the project's top folder; git and DVC ignore it, and it contains nothing else
FILE = FOLDER / "train.safetensors"
LIBRARIES = ("numpy", "segmentation_models_pytorch", "timm")  # that compute beside torch, of networks where installed
SAVED_EVERY = 30.0  # seconds: an interruption costs these and at most one epoch


def key(values: Mapping[str, Any], paths: Iterable[Path]) -> str:
    """Equal for trainings that give the same bytes: sha256 over `values` (as JSON), the files in `paths` (code) and in
    its folders (data), the versions of torch and of `LIBRARIES`, and the device.
    """
    facts = {"values": values, "device": device.fingerprint()} | {name: _version(name) for name in LIBRARIES}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for file in (file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])):
        with file.open("rb") as stream:
            digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


class Saver:
    """Saves the state of the training that has `own_key`, every `SAVED_EVERY` seconds."""

    def __init__(self, own_key: str) -> None:
        self._key = own_key
        self._saved = time.perf_counter()

    def resume(self, state: State, num_epochs: int) -> None:
        """If this training was interrupted, `state` becomes the one that was saved last."""
        try:
            if restore(self._key, state):
                done = f"resumes after epoch {len(state.history)} of {num_epochs}"
                console.say(f"{done}; remove {FILE} to train from the beginning")
        except IntegrityError as error:
            console.warn(str(error))

    def digest(self, state: State) -> str:
        """Equal for workers that go on alike: sha256 over the key, the epochs that are done and the state."""
        return _sha256(f"{self._key} {len(state.history)}", _tensors(state))

    def epoch_done(self, state: State) -> None:
        """Saves the state if the last time was long ago; if it cannot, it warns and the training continues."""
        if time.perf_counter() - self._saved < SAVED_EVERY:
            return
        try:
            write(self._key, state)
        except OSError as error:
            console.warn(f"{FILE}: not written ({error.strerror or error}). An interruption would cost all epochs.")
        self._saved = time.perf_counter()


def write(own_key: str, state: State) -> None:
    """Writes the state after an epoch, replacing an earlier one. Raises OSError if it cannot."""
    tensors = _tensors(state)
    content = {
        "key": own_key,
        "history": [astuple(epoch) for epoch in state.history],
        "groups": state.optimizer.state_dict()["param_groups"],
        "lr_schedule": state.lr_schedule.state_dict(),
    }
    text = json.dumps(content)
    with atomic.file(FILE) as temporary:
        try:
            save_file(tensors, temporary, {"state": text, "sha256": _sha256(text, tensors)})
        except SafetensorError as error:
            raise OSError(str(error)) from None


def restore(own_key: str, state: State) -> bool:
    """Whether the file belongs to this training; if so, `state`, fresh from `loop.start`, becomes the one written.

    Raises IntegrityError if the file is damaged. Only numbers and tensors are read from it, never code.
    """
    if not FILE.is_file():
        return False
    remedy = "Training starts from the beginning."
    try:
        with safe_open(FILE, framework="pt") as archive:
            metadata = archive.metadata()
            content = json.loads(metadata["state"])
            if content["key"] != own_key:
                return False
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 - it is not a dict
        expected = metadata["sha256"]
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise IntegrityError(FILE, f"damaged ({type(error).__name__}: {error})", remedy) from None
    if _sha256(metadata["state"], tensors) != expected:
        raise IntegrityError(FILE, "damaged (its bytes are not those that were written)", remedy)
    _fill(state, content, tensors)
    return True


def remove() -> None:
    """Removes the saved state, and what a write that was killed left behind."""
    atomic.remove(FOLDER)


def _tensors(state: State) -> dict[str, Tensor]:
    tables: dict[str, Mapping[str, Tensor]] = {"network": state.network.state_dict(), "best": state.best}
    if state.kept is not state.network:
        tables["kept"] = state.kept.state_dict()
    for index, slots in state.optimizer.state_dict()["state"].items():
        tables[f"optimizer.{index}"] = slots
    return {
        f"{table}/{name}": tensor.detach().cpu().contiguous()
        for table, named in tables.items()
        for name, tensor in named.items()
    }


def _sha256(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()


def _fill(state: State, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    tables: dict[str, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        table, _, name = path.partition("/")
        tables.setdefault(table, {})[name] = tensor
    state.network.load_state_dict(tables["network"])
    if state.kept is not state.network:
        state.kept.load_state_dict(tables["kept"])
    slots = {
        index: {name: _laid_out(tensor, parameter) for name, tensor in tables[f"optimizer.{index}"].items()}
        for index, parameter in enumerate(_in_groups(state))
        if f"optimizer.{index}" in tables  # frozen parameters have none
    }
    state.optimizer.load_state_dict({"state": slots, "param_groups": content["groups"]})
    state.lr_schedule.load_state_dict(content["lr_schedule"])
    state.history = [Epoch(*row) for row in content["history"]]
    state.best = tables["best"]


def _in_groups(state: State) -> Iterator[Tensor]:
    """The parameters in the order in which the optimiser numbers them."""
    return (parameter for group in state.optimizer.param_groups for parameter in group["params"])


def _laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """The tensor in the memory layout of its parameter: fused optimisers pair the two by their place in memory."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
