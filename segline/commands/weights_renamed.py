"""A checkpoint whose tensors agree with those of timm's model one by one, in order -> the same under timm's names."""

from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from segline.commands import weights_hub
from segline.core.errors import IntegrityError, ParameterError, suggestion
from segline.networks import smp

# The last parts of names, by which torch tells apart tensors of one layer that have the same shape.
LAST = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def by_order(path: Path, tensors: dict[str, Tensor], name: str) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the names of timm's model, each a copy of its own, and what is to be said about them.

    The classifier at the end may be absent or that of other classes: then it is left out. Raises ParameterError for an
    unknown model, IntegrityError for the first tensor of another shape or type, or of another role in its layer.
    """
    expected, classifier = _of_timm(name.removeprefix(smp.TIMM))
    body = [key for key in expected if not key.startswith(classifier)]
    ends = [*body, *(key for key in expected if key.startswith(classifier))] == list(expected)
    whole = list(zip_longest(tensors, expected))
    complete = not _mismatch(whole, tensors, expected)
    pairs = whole if complete or not ends else list(zip_longest([*tensors][: len(body)], body))
    left = [*tensors][len(pairs) :]
    if problem := _mismatch(pairs, tensors, expected):
        raise IntegrityError(path, problem, f"It is not a checkpoint of {name}, or has another order.")
    if len(left) > len(expected) - len(body):
        problem = f"{len(left)} tensors follow those of {name}: {', '.join(left[:5])}"
        raise IntegrityError(path, problem, "It is a checkpoint of another model.")
    lines = [f"{len(pairs)} tensors, from {pairs[0][0]} to {pairs[-1][0]}, are {pairs[0][1]} to {pairs[-1][1]} of timm"]
    if left:
        lines.append(f"left out: {', '.join(left)}, not the classifier of {name}")
    elif not complete:
        lines.append(f"the classifier of {name} is absent")
    copies = {new: tensors[old].clone(memory_format=torch.contiguous_format) for old, new in pairs}
    return copies, lines


def _of_timm(name: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of timm's model, without values, in order, and how the names of its classifier begin."""
    timm = weights_hub.package("timm")
    if not timm.is_model(name):
        raise ParameterError(name, "timm has no model of that name", suggestion(name, timm.list_models(), "Check it."))
    with torch.device("meta"):
        model = timm.create_model(name)
    named = model.pretrained_cfg["classifier"] or ()
    names = (named,) if isinstance(named, str) else named
    return model.state_dict(), tuple(f"{each}." for each in names)


def _mismatch(
    pairs: list[tuple[str | None, str | None]], tensors: dict[str, Tensor], expected: dict[str, Tensor]
) -> str:
    """What is wrong with the first pair that does not agree; empty if all do."""
    for number, (old, new) in enumerate(pairs, 1):
        if old is None or new is None:
            return f"has {len(tensors)} tensors, expected {len(expected)}"
        (shape, kind), (its, own) = ((tuple(each.shape), each.dtype) for each in (tensors[old], expected[new]))
        roles = {old.rpartition(".")[2], new.rpartition(".")[2]}
        if (shape, kind) != (its, own) or (len(roles) > 1 and roles <= LAST):
            return f"tensor {number}, {old} {shape} {kind}, is not {new} {its} {own}"
    return ""
