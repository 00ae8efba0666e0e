"""One forward and one backward pass, of a batch or of a shard of it. N images, C channels, K classes, H x W pixels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from segline.core.errors import TrainingError
from segline.model import output_head
from segline.training import losses
from segline.training.state import State


@dataclass(frozen=True)
class Backward:
    """`forward` is the network of the state, compiled or not; `unit` is what it is given: a batch or a shard."""

    state: State
    forward: Callable[[Tensor], Tensor]
    criterion: losses.Loss
    unit: str = "batch"

    def __call__(self, images: Tensor, onehot: Tensor, weights: losses.Weights | None = None) -> Tensor:
        """The loss of float32 images (N, C, H, W) and targets (N, K, H, W), a scalar. Its gradients, and no others, are
        in the network afterwards. Raises TrainingError if batch normalisation has too few values.
        """
        with self.state.autocast(images), enough_values(len(images), self.unit):
            logits = output_head.class_logits(self.forward(images))
        loss = self.criterion(logits, onehot, weights)
        self.state.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss.detach()


@contextmanager
def enough_values(num_images: int, unit: str = "batch") -> Iterator[None]:
    """Turns the error of batch normalisation for a single value per channel into a TrainingError."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        problem = (
            f"a {unit} of {num_images} leaves batch normalisation one value per channel in its smallest feature map"
        )
        size = "fewer shards, a batch size" if unit == "shard" else "a batch size"
        remedy = f"Choose {size} that leaves no single image over, or a larger preprocess.height and width."
        raise TrainingError("params.yaml: train.batch_size", problem, remedy) from None
