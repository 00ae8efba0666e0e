"""Many trainings of copies of a project, several at once: from other seeds, on other folds, of other commits.

`tasks` says where they run. Neither DVC nor MLflow takes part, and nothing in the project changes.
"""

import copy
import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segline.core import params
from segline.core.errors import PipelineError
from segline.monitoring import console
from segline.reproducibility import sandbox
from segline.reproducibility.dvc_lock import Stage, Store
from segline.scheduling import tasks
from segline.scheduling.places import Place


@dataclass(frozen=True)
class Training:
    """One training: a copy of the project at `root`, in which `stages` run with some parameters changed.

    `name` stands in messages ("seed 3"). `changes` has values by dotted key, such as {"train.seed": 3}. `files` are
    small results to read back, such as metrics/eval.json. A stage's command is the one that it has: parameters that
    stand in it are the caller's to fill in.
    """

    name: str
    root: Path
    store: Store
    stages: Sequence[Stage]
    changes: Mapping[str, Any]
    files: Sequence[Path]


@dataclass(frozen=True)
class Trained:
    """A training that has ended, and the bytes of the files that it was asked for."""

    training: Training
    files: Mapping[Path, bytes]


def run(trainings: Sequence[Training]) -> Generator[Trained]:
    """Each training as it ends, in no fixed order; the bytes are those of one training after another.

    Raises PipelineError, which names the training, if one fails. How the others end then, or after Ctrl-C, says
    `tasks.run`: iterate within `contextlib.closing`. Call `sandbox.require_locked` and `require_inputs` first.
    """
    if trainings:  # the first result may take long
        console.say(f"to train: {'; '.join(training.name for training in trainings)}")
    return tasks.run(train, trainings)


def train(training: Training, place: Place) -> Trained:
    """Runs one training at its place and reads its files."""
    try:
        with sandbox.project(training.root, training.store, training.stages) as clone:
            document = changed(params.load(clone / params.FILE), training.changes)
            text = json.dumps(document, ensure_ascii=False)  # JSON is YAML in which no string reads as a number
            (clone / params.FILE).write_text(text, encoding="utf-8")
            for stage in training.stages:
                sandbox.run(clone, stage, place)
            return Trained(training, {path: (clone / path).read_bytes() for path in training.files})
    except PipelineError as error:
        raise PipelineError(f"{training.name}: {error.where}", error.problem, error.remedy) from None


def changed(document: params.Document, changes: Mapping[str, Any]) -> params.Document:
    """The parameters with the values at some dotted keys replaced. Raises ParameterError for a section that is not."""
    result = copy.deepcopy(document)
    for key, value in changes.items():
        above, _, name = key.rpartition(".")
        (params.find(result, above) if above else result)[name] = value
    return result
