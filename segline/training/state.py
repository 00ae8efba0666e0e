"""The whole state of a training, from which it can be resumed."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

from segline.dataset.history import Epoch
from segline.model.device import Precision


@dataclass
class State:
    """Changes in place with every step. `network` is what learns, `precision` what it is computed in.

    `kept` is what is validated and written: the moving average of `network`, or `network` itself. `class_weights` (K,)
    are those of the loss, empty if it has none. `best` contains the weights of the best epoch so far.
    """

    network: nn.Module
    kept: nn.Module
    optimizer: optim.Optimizer
    lr_schedule: lr_scheduler.LRScheduler
    class_weights: Tensor
    precision: Precision
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def autocast(self, images: Tensor) -> torch.autocast:
        """Within, the network computes in `precision`, on the device of the images."""
        return torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    @property
    def best_epoch(self) -> Epoch:
        """The epoch with the highest val mIoU, the first of equals."""
        return max(self.history, key=lambda epoch: epoch.val_miou)

    @property
    def epochs_since_best(self) -> int:
        """The number of epochs since the best one; 0 before the first."""
        return len(self.history) - self.best_epoch.epoch if self.history else 0
