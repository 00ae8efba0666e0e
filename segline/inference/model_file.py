"""The model file that a person names on a command line."""

from pathlib import Path

from torch import nn

from segline.core.errors import IntegrityError, PipelineError
from segline.model import checkpoint

REMEDY = "Train one (make repro), fetch it (dvc pull), or name another file."


def read(path: Path) -> tuple[nn.Module, checkpoint.Description]:
    """As `checkpoint.read`, whose remedy is one for stages. Raises IntegrityError."""
    if path.is_dir():
        raise IntegrityError(path, "a folder, expected a model file", REMEDY)
    try:
        return checkpoint.read(path)
    except PipelineError as error:  # a ParameterError would name params.yaml, which knows nothing of this file
        raise IntegrityError(path, error.problem, REMEDY) from None
