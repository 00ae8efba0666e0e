"""All that a training run is made of, as one value: whoever has it can go on from there."""

from dataclasses import dataclass, field

from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

from segline.dataset.history import Epoch


@dataclass
class State:
    """Changes in place from step to step. `network` is what learns.

    `kept` is what is validated and kept: the moving average of `network`, or `network` itself. `class_weights` (K,) are
    those of the loss, empty if it has none. `best` holds the weights of the best epoch so far.
    """

    network: nn.Module
    kept: nn.Module
    optimizer: optim.Optimizer
    schedule: lr_scheduler.LRScheduler
    class_weights: Tensor
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def best_epoch(self) -> Epoch:
        """The epoch of highest val mIoU, the first of equals."""
        return max(self.history, key=lambda epoch: epoch.val_miou)

    @property
    def epochs_since_best(self) -> int:
        """How many epochs in a row were not better than the best; 0 before the first."""
        return len(self.history) - self.best_epoch.epoch if self.history else 0
