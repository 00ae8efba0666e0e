"""What decides: the margins and floors of gate.yaml, and the seed noise of the metrics they name."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segline.core import params, untrusted
from segline.core.errors import DataError, ParameterError, combined, suggestion
from segline.gate.bootstrap import Noise
from segline.gate.objects import METRICS
from segline.reproducibility import seed_noise as measurement

FILE = Path("gate.yaml")
ECE = "ece"  # the one metric whose rise is a loss
REMEDY = "See docs/gate.md."
MEASURE = "Measure it again: segline noise."
MEANINGS = {
    "margins": "A margin is the loss that you accept, as a fraction: 0.01 is one percentage point.",
    "floors": "A floor is the score that must be kept, such as the IoU of a class: above 0, at most 1.",
    "metrics": "It is the standard deviation of a score between 0 and 1, so at most 0.5.",
}

Deviation = Annotated[float, Field(ge=0, le=0.5)]


class Rules(params.Section):
    """gate.yaml. It changes no output, so it is not a parameter of the pipeline, and `inconclusive` may be left out: a
    base of before it had that key decides too.
    """

    margins: dict[str, Annotated[float, Field(ge=0, lt=1)]]
    floors: dict[str, Annotated[float, Field(gt=0, le=1)]]
    noise: str = Field(min_length=1)
    inconclusive: Literal["pass", "fail"] = "pass"


@dataclass(frozen=True)
class Criterion:
    """One claim that is judged: `metric` fell by at most `margin`, or is at least `floor`."""

    metric: str
    margin: float
    floor: float | None = None

    @property
    def name(self) -> str:
        """Its name in tables."""
        return self.metric if self.floor is None else f"{self.metric} >= {self.floor:g}"

    @property
    def label(self) -> str | None:
        """The class whose IoU it is; None for other metrics, even if a class has that name."""
        return self.metric.removeprefix("iou.") if self.metric.startswith("iou.") else None


class _Deviations(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    accuracy: Deviation
    miou: Deviation
    iou: dict[str, Deviation]
    ece: Deviation | None = None
    objects: dict[str, Deviation] = {}


class SeedNoise(BaseModel):
    """noise.json: standard deviations over runs with these seeds, and the protocol by which the runs were evaluated.

    `recipe` is that of `dvc_lock.recipe`; older files have none.
    """

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    commit: str | None
    metrics: _Deviations
    protocol: dict[str, str]
    recipe: str | None = None
    seeds: list[int] = Field(min_length=measurement.FEWEST)


def read_rules(path: Path) -> Rules:
    """The rules of a gate.yaml. Raises ParameterError if it is missing, and as `parse_rules`."""
    try:
        content = untrusted.read(path, params.MAX_BYTES)
    except OSError as error:
        remedy = "Take the committed one: git checkout HEAD gate.yaml"
        raise ParameterError(path, untrusted.problem(error), remedy) from None
    return parse_rules(content, path)


def parse_rules(content: bytes, where: object) -> Rules:
    """The rules in these bytes. Raises ParameterError for each bad key or value, all at once."""
    try:
        document = params.parse(content, where)
    except ParameterError as error:
        raise ParameterError(where, error.problem, REMEDY) from None
    try:
        rules = Rules.model_validate(document)
    except ValidationError as error:
        raise combined(where, [_problem(where, dict(detail)) for detail in error.errors()]) from None
    if not rules.margins and not rules.floors:
        raise ParameterError(where, "neither margins nor floors, so nothing can be judged", REMEDY)
    return rules


def _problem(path: object, detail: Mapping[str, Any]) -> ParameterError:
    key = ".".join(map(str, detail["loc"]))
    if detail["type"] == "missing":
        return ParameterError(path, f"{key}: missing", REMEDY)
    if detail["type"] == "extra_forbidden":
        return ParameterError(path, f"{key}: unknown key", suggestion(key, list(Rules.model_fields), REMEDY))
    remedy = _meaning(detail["type"], detail["loc"]) + REMEDY
    return ParameterError(path, f"{key}: {detail['msg'].lower()}, got {str(detail['input'])[:80]!r}", remedy)


def _meaning(kind: str, location: tuple[int | str, ...]) -> str:
    """The meaning of a number that is out of bounds; empty for other errors."""
    return f"{MEANINGS[str(location[0])]} " if kind.startswith(("greater_than", "less_than")) else ""


def criteria(
    rules: Rules, classes: Mapping[str, int], objects: int | None, path: object, *, calibrated: bool = False
) -> list[Criterion]:
    """The criteria of gate.yaml. `classes` maps each class to the number of images with true pixels of it; `objects`
    is that of images with true objects, None if objects are not scored on both sides. `calibrated` says whether both
    sides have an ECE.

    Raises ParameterError for every metric that is unknown or cannot be judged.
    """
    claims = [Criterion(metric, margin) for metric, margin in rules.margins.items()]
    claims += [Criterion(_floored(name, classes), 0.0, floor) for name, floor in rules.floors.items()]
    known = ["accuracy", "miou", *([ECE] if calibrated else []), *(METRICS if objects is not None else ())]
    known += [f"iou.{name}" for name in classes]
    problems = []
    for criterion in claims:
        key = f"{'margins' if criterion.floor is None else 'floors'}: {criterion.metric}"
        if criterion.metric == ECE and not calibrated:
            problem = f"{key}: an older version evaluated one of the sides, without it"
            problems.append(ParameterError(path, problem, "Remove it until both sides have it."))
        elif criterion.metric not in known:
            remedy = suggestion(criterion.metric, known, f"Known are {', '.join(known)}.")
            problems.append(ParameterError(path, f"{key}: no such metric", remedy))
        elif (seen := _seen(criterion, classes, objects)) and seen[1] < 2:
            few = f"{seen[0]} in {seen[1]} image{'s' * (seen[1] != 1)} of the split, at least two are needed"
            problems.append(ParameterError(path, f"{key}: {few}", "Remove it."))
    if problems:
        raise combined(path, problems)
    return claims


def _floored(name: str, classes: Mapping[str, int]) -> str:
    """The metric that a floor is about: the IoU of the class with that name, or a score that is no class's."""
    return name if name in ("accuracy", "miou", *METRICS) and name not in classes else f"iou.{name}"


def _seen(criterion: Criterion, classes: Mapping[str, int], objects: int | None) -> tuple[str, int] | None:
    """What a criterion needs, and in how many images it is; None if it is about all pixels."""
    if criterion.label is not None:
        return "the class has pixels", classes[criterion.label]
    return ("there are objects", objects or 0) if criterion.metric in METRICS else None


def parse_noise(content: bytes, where: object) -> SeedNoise:
    """The seed noise in the bytes of a noise.json. Raises DataError if they are broken."""
    try:
        noise = SeedNoise.model_validate(json.loads(content.decode("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
        raise DataError(where, problem, _meaning(first["type"], first["loc"]) + MEASURE) from None
    except ValueError as error:
        raise DataError(where, f"not JSON ({error})", MEASURE) from None
    if len(set(noise.seeds)) < len(noise.seeds):
        raise DataError(where, "duplicate seed", MEASURE)
    return noise


def of_criterion(noise: SeedNoise, criterion: Criterion, path: Path) -> Noise:
    """The seed noise of a criterion: variance 2 s^2 for the difference of two runs, s^2 for one run against a floor."""
    known = {"accuracy": noise.metrics.accuracy, "miou": noise.metrics.miou}
    known |= {f"iou.{name}": deviation for name, deviation in noise.metrics.iou.items()} | noise.metrics.objects
    known |= {} if noise.metrics.ece is None else {ECE: noise.metrics.ece}
    if criterion.metric not in known:
        raise DataError(path, f"metrics.{criterion.metric}: missing, but {FILE} uses it", MEASURE)
    runs = 2 if criterion.floor is None else 1
    return Noise(math.sqrt(runs) * known[criterion.metric], len(noise.seeds))
