"""What a training was made of, in short: equal for runs that differ in nothing but their seed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from segline import lock

STAGE, SECTION, SEED = "train", "train", "seed"


def of(locked: Mapping[str, lock.Stage]) -> str | None:
    """The first 16 hex digits of a SHA-256 over what train read, by md5, and its parameters but `train.seed`.

    None where dvc.lock has no such stage.
    """
    stage = locked.get(STAGE)
    if stage is None:
        return None
    parameters = {file: _without_seed(values) for file, values in stage.parameters.items()}
    content = json.dumps([stage.inputs, parameters], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _without_seed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by section, as dvc.lock has them."""
    section = {key: value for key, value in values.get(SECTION, {}).items() if key != SEED}
    return {**values, SECTION: section}
