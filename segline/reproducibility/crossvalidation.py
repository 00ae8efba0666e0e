"""Every image predicted by a model that has not seen it: training on folds, in copies of the project."""

import csv
import itertools
import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from segline.core import atomic, params, pipeline, records
from segline.core.errors import DataError, ParameterError, PipelineError
from segline.dataset import raw
from segline.monitoring import console
from segline.reproducibility import (
    crossvalidation_page,
    dvc_lock,
    fold_scores,
    folds,
    out_of_fold,
    sandbox,
    seed_noise,
    trainings,
)
from segline.reproducibility.crossvalidation_page import Example
from segline.reproducibility.dvc_lock import Stage
from segline.reproducibility.folds import Member
from segline.reproducibility.out_of_fold import Image
from segline.scheduling import tasks
from segline.scheduling.places import Place

FILE, PAGE = Path("metrics/crossvalidation.json"), Path("metrics/crossvalidation.html")
PER_IMAGE = Path("metrics/crossvalidation_per_image.csv")
OF_RUN = ("seed", "fold")  # its first columns; the others are those of per_image.csv
REPEATED = ("interval", "iou", "objects", "cost")  # of eval.json, besides the rates and the protocol
STAGES = ("preprocess", "train", "evaluate")
KEPT = ("masks", "overlays", "probabilities")  # of what `segline predict` writes
TESTED = "test"
FEWEST = 3  # one to test on, one to choose the epoch on, the others to train on
_SPLIT = "${evaluate.split}"  # in dvc.yaml
_PREDICT = "python -m segline predict images --model {model} --out predicted --probabilities"


@dataclass(frozen=True)
class _Project:
    """What the copies are made of; `stages` are preprocess, train, and evaluate of the split `TESTED`."""

    root: Path
    store: dvc_lock.Store
    stages: Sequence[Stage]
    dataset: raw.Dataset
    images: Sequence[Member]
    fold_of: Sequence[int]


@dataclass(frozen=True)
class _Run:
    """One training: the test fold, the seed, and whether its predictions are kept."""

    fold: int
    seed: int
    predicts: bool

    def __str__(self) -> str:
        return f"fold {self.fold + 1}, seed {self.seed}"


@dataclass(frozen=True)
class _Result:
    """Its eval.json, confusion.json and lines of per_image.csv, and the files of its predictions by path."""

    run: _Run
    scores: dict[str, Any]
    confusion: list[dict[str, Any]]
    per_image: list[list[str]]
    predictions: dict[str, bytes]


def measure(root: Path, count: int, num_seeds: int) -> None:
    """Writes the scores of each fold and image to metrics/crossvalidation*, a page, and all predictions.

    Images of all splits take part. The val split of a fold is the next fold. Seeds are train.seed and those after it;
    predictions are those of the first. Nothing else in the project changes, and a failure keeps the old files.
    Raises DataError as `sandbox.require_locked`, and PipelineError, which names fold and seed, if one fails.
    """
    if count < FEWEST:
        raise ParameterError(
            "--folds", f"expected at least {FEWEST}, got {count}", "One tests, one validates, others train."
        )
    if num_seeds < 1:
        raise ParameterError("--seeds", f"expected at least 1, got {num_seeds}", "Two show what seeds change.")
    locked = dvc_lock.stages(root)
    if missing := [name for name in STAGES if name not in locked]:
        raise DataError(root / dvc_lock.FILE, f"stage {missing[0]} is missing", "Run `make repro`.")
    commit = seed_noise.current_commit(root)
    stages = [locked["preprocess"], locked["train"], _testing(locked["evaluate"], root)]
    store = dvc_lock.Store(root, locked)
    sandbox.require_locked(root, store, locked.values())
    sandbox.require_inputs(root, store, [stages])
    dataset = raw.read(root / pipeline.path("preprocess", "raw"))
    images = folds.members(dataset, root / pipeline.path("preprocess", "processed"))
    fold_of = folds.divide(images, count)
    shown = out_of_fold.images(root)
    project = _Project(root, store, stages, dataset, images, fold_of)
    first = int(params.find(params.load(root / params.FILE), "train.seed"))
    seeds = list(range(first, first + num_seeds))
    runs = [_Run(fold, seed, seed == first) for seed in seeds for fold in range(count)]
    with atomic.folder(root / out_of_fold.PREDICTIONS) as folder:
        results = _results(project, runs, folder)
        by_fold = [[results[fold, seed] for seed in seeds] for fold in range(count)]
        content = {
            "commit": commit,
            "folds": [_fold(project, fold, by_fold[fold]) for fold in range(count)],
            "pooled": fold_scores.pooled([own[0].confusion for own in by_fold]),
            "recipe": recipe(locked),
            **fold_scores.summary([[result.scores for result in own] for own in by_fold], 1 / (count - 2)),
        }
    header, *_ = by_fold[0][0].per_image
    rows = [
        (str(result.run.seed), str(result.run.fold + 1), *row)
        for result in sorted(results.values(), key=lambda result: (result.run.seed, result.run.fold))
        for row in result.per_image[1:]
    ]
    records.write_csv(root / PER_IMAGE, [*OF_RUN, *header], rows)
    records.write_json(root / FILE, content)
    _write_page(root, content, shown)
    miou = content["mean"]["miou"]
    console.say(f"{FILE}: mIoU {miou['value']:.4f} (95 % interval {miou['low']:.4f} to {miou['high']:.4f})")
    console.say(f"{len(images)} out-of-fold predictions -> {out_of_fold.PREDICTIONS}; page -> {PAGE}")


def recipe(locked: Mapping[str, Stage]) -> str | None:
    """A hash of all that determines a cross-validation but `train.seed`; None if dvc.lock lacks one of `STAGES`.

    Folds do not depend on `evaluate.split`.
    """
    if not set(STAGES) <= locked.keys():
        return None
    evaluate = locked["evaluate"]
    parameters = {
        file: {key: _without_split(value) if key == "evaluate" else value for key, value in values.items()}
        for file, values in evaluate.parameters.items()
    }
    return dvc_lock.recipe({**locked, "evaluate": replace(evaluate, parameters=parameters)}, STAGES)


def _without_split(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != "split"}


def _write_page(root: Path, content: Mapping[str, Any], images: Sequence[Image]) -> None:
    """Writes the page: without pictures, and with a warning that says why, if files have changed in the meantime."""
    examples: Sequence[Example] = ()
    try:
        examples = [*crossvalidation_page.examples(crossvalidation_page.scores(root / PER_IMAGE), images)]
    except PipelineError as error:
        console.warn(f"{PAGE} has no pictures: {error}")
    with atomic.file(root / PAGE) as temporary:
        page = crossvalidation_page.render(content, images[0].index.dataset, examples, images[0].classes)
        temporary.write_text(page, encoding="utf-8")


def _testing(evaluate: Stage, root: Path) -> Stage:
    """The stage with the split `TESTED` in its command, whichever the user's is."""
    split = params.text(params.load(root / params.FILE), "evaluate.split")
    command = evaluate.command
    for argument in ("processed", "raw"):
        path = pipeline.path("evaluate", argument).as_posix()
        command = command.replace(path.replace(_SPLIT, split), path.replace(_SPLIT, TESTED))
    return replace(evaluate, command=command)


def _results(project: _Project, runs: Sequence[_Run], folder: Path) -> dict[tuple[int, int], _Result]:
    """All results without predictions, which are written to `folder` as they come."""
    console.say(f"to train: {'; '.join(map(str, runs))}")
    found: dict[tuple[int, int], _Result] = {}
    with closing(tasks.run(partial(_trained, project), runs)) as ended:
        for result in ended:
            for path, content in result.predictions.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
            run, rates = result.run, result.scores
            found[run.fold, run.seed] = replace(result, predictions={})
            shown = f"accuracy {100 * rates['accuracy']:.1f} %, mIoU {100 * rates['miou']:.1f} %"
            console.say(f"{run}: {shown}")
    return found


def _trained(project: _Project, run: _Run, place: Place) -> _Result:
    """Trains and scores in a copy whose data are those of the fold."""
    count = max(project.fold_of) + 1
    names = {run.fold: TESTED, (run.fold + 1) % count: "val"}
    splits = [names.get(fold, "train") for fold in project.fold_of]
    try:
        with sandbox.project(project.root, project.store, project.stages) as clone:
            arranged = folds.arrange(
                clone / pipeline.path("preprocess", "raw"), project.dataset, project.images, splits
            )
            changes = {"train.seed": run.seed, "evaluate.split": TESTED}
            document = trainings.changed(params.load(clone / params.FILE), changes)
            text = json.dumps(document, ensure_ascii=False)  # JSON is YAML in which no string reads as a number
            (clone / params.FILE).write_text(text, encoding="utf-8")
            for stage in project.stages:
                sandbox.run(clone, stage, place)
            scores, cells = (
                records.read_json(clone / pipeline.path("evaluate", name)) for name in ("metrics", "confusion")
            )
            with (clone / pipeline.path("evaluate", "per-image")).open(encoding="utf-8", newline="") as stream:
                lines = list(csv.reader(stream))
            predictions = _predicted(clone, arranged, place) if run.predicts else {}
            return _Result(run, scores, cells, lines, predictions)
    except PipelineError as error:
        where = f"{run}: {error.where}"
        raise PipelineError(where, error.problem, error.remedy) from None


def _predicted(clone: Path, arranged: raw.Dataset, place: Place) -> dict[str, bytes]:
    """What `segline predict` writes about the images of the fold, at their own size, under the names of their stems."""
    for pair in arranged.splits[TESTED]:
        named = clone / "images" / f"{pair.stem}{Path(pair.image).suffix}"
        named.parent.mkdir(parents=True, exist_ok=True)
        (clone / pipeline.path("preprocess", "raw") / TESTED / pair.image).rename(named)
    command = _PREDICT.format(model=pipeline.path("train", "model").as_posix())
    sandbox.run(clone, Stage("predict", command, {}, {}), place)
    out = clone / "predicted"
    files = itertools.chain.from_iterable((out / kind).rglob("*.*") for kind in KEPT)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files if path.is_file()}


def _fold(project: _Project, fold: int, results: Sequence[_Result]) -> dict[str, Any]:
    own = [image for image, number in zip(project.images, project.fold_of, strict=True) if number == fold]
    return {
        "images": len(own),
        "groups": len({image.group for image in own}),
        "protocol": results[0].scores["protocol"],
        "scores": [
            {"seed": result.run.seed}
            | {name: result.scores[name] for name in (*fold_scores.RATES, *REPEATED) if name in result.scores}
            for result in results
        ],
    }


def command(args: Namespace) -> None:
    """`segline crossvalidate`."""
    params.require_top_folder(dvc_lock.FILE)
    measure(Path.cwd(), args.folds, args.seeds)
