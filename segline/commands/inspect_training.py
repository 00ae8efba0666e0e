"""How long a training on these images is by the parameters that the project has: with few images it is short."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from segline.core import params
from segline.core.errors import PipelineError

FEW = 300  # optimiser steps: on twelve images 36 were too few, and 960 no better, see docs/log.md


def doubts(images: int, path: Path = params.FILE) -> Iterator[str]:
    """A sentence if so many images of train, which are not cut into tiles, make few steps. None without a params.yaml
    that says how many."""
    with suppress(PipelineError, OSError):
        document = params.load(path)
        epochs, batch = (params.find(document, f"train.{key}") for key in ("epochs", "batch_size"))
        if not all(type(number) is int and number > 0 for number in (epochs, batch)):
            return
        each = -(-images // batch)
        if 0 < each * epochs < FEW:
            yield (
                f"Training: {images} images, {epochs} epochs and batches of {batch}, as {path} has them, are "
                f"{each * epochs} steps: few from random weights. train.epochs: {-(-FEW // each)} makes {FEW} or more."
            )
