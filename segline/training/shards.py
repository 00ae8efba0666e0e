"""Training in shards: how the gradients of a batch are added does not depend on how many workers compute them.

A batch is cut into S shards by the position of its samples. Each has its own forward and backward pass, draws of
dropout from (seed, step, shard), and batch statistics: "ghost batch normalisation", Hoffer et al. 2017. What they give
is added along a binary tree over the shards, of which W workers hold one subtree each (W and S are powers of two).
Gradients, loss and statistics are one vector, so that a step needs one exchange at each level above the subtrees.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase as Norm

from segline.core.errors import ParameterError
from segline.model import randomness
from segline.training import losses
from segline.training.backward import Backward, enough_values
from segline.training.group import Group

Shards = Sequence[tuple[Tensor, Tensor] | None]


def tree_sum(leaf: Callable[[int], Tensor], count: int, first: int = 0) -> Tensor:
    """The sum of `leaf(number)` for `count` numbers from `first`, a power of two, along a binary tree:
    (0 + 1) + (2 + 3). Leaves are asked for in order, and log2(count) + 1 tensors are kept at most.
    """
    if count == 1:
        return leaf(first)
    half = count // 2
    left = tree_sum(leaf, half, first)
    return left.add_(tree_sum(leaf, half, first + half))


def gradients(
    backward: Backward, cut: Iterable[Shards], group: Group, *, num_classes: int, seed: int, first_step: int
) -> Iterator[Tensor]:
    """For each batch its loss and its labelled pixels, float32 (2,). Its gradients are then in the network, and its
    statistics have updated the running ones. `cut` has the shards of this worker for each batch.
    """
    for step, parts in enumerate(cut, start=first_step):
        counts = group.exact_sum(_counts(parts, num_classes, backward.state.class_weights.device))
        yield _step(backward, parts, counts, group, (seed, step))


def _step(backward: Backward, parts: Shards, counts: Tensor, group: Group, key: tuple[int, int]) -> Tensor:
    pixels, (labelled, filled) = counts[:-2], counts[-2:]
    weights = losses.weights(pixels, labelled, backward.state.class_weights)
    changed = _Changed(backward.state.network)

    def leaf(number: int) -> Tensor:
        if (part := parts[number]) is None:
            return torch.zeros(sum(changed.sizes), device=counts.device)
        randomness.reseed(*key, group.rank * len(parts) + number)
        return changed.vector(backward(*part, weights))

    with changed.statistics_of_a_pass():
        total = group.tree_sum(tree_sum(leaf, len(parts)))
    loss = changed.by(total, filled)
    return torch.stack([loss, pixels.sum().float()])


def _counts(parts: Shards, num_classes: int, target: torch.device) -> Tensor:
    """Labelled pixels of each class, the number of shards that have any, and that of shards with a sample: int64."""
    counts = torch.zeros(num_classes + 2, dtype=torch.int64, device=target)
    for _, onehot in filter(None, parts):
        pixels = onehot.sum(dim=(0, 2, 3), dtype=torch.float64).long()
        counts[:-2] += pixels
        counts[-2] += pixels.sum() > 0
        counts[-1] += 1
    return counts


class _Changed:
    """What a step changes in a network, and the vector of what a shard has to say of it: the gradients, the batch means
    and unbiased variances, and the loss.
    """

    def __init__(self, network: nn.Module) -> None:
        self._parameters = [each for each in network.parameters() if each.requires_grad]
        self._norms = norms(network)
        self._before = [[buffer.clone() for buffer in _buffers(norm)] for norm in self._norms]
        statistics = [buffer for norm in self._norms for buffer in _buffers(norm)[:2]]
        self.sizes = [*(each.numel() for each in (*self._parameters, *statistics)), 1]

    @contextmanager
    def statistics_of_a_pass(self) -> Iterator[None]:
        """Within, a forward pass leaves its own batch statistics in the network: with a momentum of 1 the running ones
        are those of the last pass.
        """
        momenta = [norm.momentum for norm in self._norms]
        for norm in self._norms:
            norm.momentum = 1.0
        try:
            yield
        finally:
            for norm, momentum in zip(self._norms, momenta, strict=True):
                norm.momentum = momentum

    def vector(self, loss: Tensor) -> Tensor:
        """After a pass. A parameter that it does not use has a gradient of 0, as in a shard without samples."""
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in self._parameters]
        statistics = [buffer for norm in self._norms for buffer in _buffers(norm)[:2]]
        return torch.cat([each.flatten() for each in (*gradients, *statistics, loss)])

    def by(self, total: Tensor, shards: Tensor) -> Tensor:
        """Takes the sum of the vectors of so many shards: gradients as they are, statistics as their mean, one update
        of the running ones. Returns the loss.
        """
        *parts, loss = torch.split(total, self.sizes)
        rest = iter(parts)
        for parameter in self._parameters:  # in its own memory layout, by which fused optimisers pair the two
            parameter.grad = torch.empty_like(parameter).copy_(next(rest).view(parameter.shape))
        for norm, (mean, variance, count) in zip(self._norms, self._before, strict=True):
            count.add_(1)
            share = norm.momentum if norm.momentum is not None else 1 / int(count)
            for old in (mean, variance):
                old.lerp_(next(rest) / shards, share)
            for buffer, new in zip(_buffers(norm), (mean, variance, count), strict=True):
                buffer.copy_(new)
        return loss[0]


def norms(network: nn.Module) -> list[Norm]:
    """The modules whose running statistics a training step updates."""
    modules = (module for module in network.modules() if isinstance(module, Norm))
    return [module for module in modules if module.training and module.track_running_stats]


def _buffers(norm: Norm) -> tuple[Tensor, Tensor, Tensor]:
    return norm.running_mean, norm.running_var, norm.num_batches_tracked  # type: ignore[return-value]


def require_fit(network: nn.Module, images: Tensor) -> None:
    """Raises if a network in training mode cannot be trained in shards of such images, both on the meta device:
    TrainingError if they are too few for batch normalisation, ParameterError for statistics that no rule adds up.
    """
    added = {id(buffer) for norm in norms(network) for buffer in _buffers(norm)}
    others = {name: buffer for name, buffer in network.named_buffers() if id(buffer) not in added}
    versions = {name: buffer._version for name, buffer in others.items()}
    with enough_values(len(images), "shard"), torch.no_grad():
        network(images)
    for name, buffer in network.named_buffers():
        if name in others and (buffer is not others[name] or buffer._version != versions[name]):
            problem = f"{name} of the network changes in training, and shards do not know how to share it"
            raise ParameterError("params.yaml: train.shards", problem, "Write 1, or choose another network.")
