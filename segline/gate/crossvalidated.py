"""Two cross-validations compared: every image is judged by models that have not seen it, once for each seed.

F folds, S seeds. A fold of a seed is read and paired as a run of its own. All folds of a seed are then one pair, whose
scores are those of all images together.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from segline.core.errors import DataError
from segline.gate import counts, judgement, messages, pairing, rule_source, saved_metrics, series
from segline.gate.counts import Side
from segline.gate.judgement import Judgement
from segline.gate.pairing import Pair
from segline.gate.rules import ECE, FILE, Criterion
from segline.gate.saved_metrics import Files, Saved
from segline.gate.series import Evidence
from segline.reproducibility import crossvalidation, dvc_lock

COMMAND = "segline crossvalidate"
FILES = Files(crossvalidation.FILE, crossvalidation.PER_IMAGE, COMMAND)
REMEDY = f"Rebuild it: {COMMAND}."

Parts = Mapping[tuple[int, int], Saved]  # by seed and fold


def judge(base: str, root: Path) -> Judgement:
    """Judges the cross-validation of the working tree at `root` against that of a revision or a folder.

    Raises PipelineError unless both are of the same images and folds, with as many seeds.
    """
    locked = saved_metrics.locked_stages(root)
    candidate = saved_metrics.in_folder(root / FILES.evaluation.parent, "the working tree", REMEDY, FILES)
    theirs = saved_metrics.read(base, root, FILES)
    recipes = [crossvalidation.recipe(each) for each in (saved_metrics.stages_of(theirs, root), locked)]
    for saved, recipe in zip((theirs, candidate), recipes, strict=True):
        _require_recipe(saved, recipe)
    sides = _parts(theirs), _parts(candidate)
    _require_equal_folds(theirs, candidate, *sides)
    seeds = sorted({seed for seed, _ in sides[1]})
    folds = len(sides[1]) // len(seeds)
    pairs = [_joined(theirs, candidate, *sides, seed) for seed in seeds]
    if len({pair.base.stems for pair in pairs}) > 1:
        raise DataError(theirs.evaluation_name, "a seed has other images in a fold than the others", REMEDY)
    rules = rule_source.effective(pairs[0], root, noise=False)
    is_same = all(judgement.same(pair) for pair in pairs)
    evidence = series.over_folds(pairs, rules.criteria, is_same)
    _require_known(evidence, rules.criteria)
    plan = series.Plan(len(pairs), len(pairs), 0)
    findings = series.decide(evidence, rules.criteria, [None] * len(rules.criteria), plan)
    notes = [messages.cross_validated(len(pairs[0].base.stems), folds, len(seeds))]
    notes += [messages.UNTIED_FOLDS] if None in recipes else []
    notes += [messages.SAME] if is_same else []
    notes += [messages.TURNED] if any(criterion.metric == ECE for criterion in rules.criteria) else []
    notes += [messages.own(name, base) for name in rules.own] + [messages.changed(name, base) for name in rules.changed]
    return judgement.of_findings(pairs, findings, rules, notes, seeds=tuple(seeds), budget=len(seeds))


def _require_known(evidence: Evidence, criteria: Sequence[Criterion]) -> None:
    """Raises DataError for the IoU of a class that is in one fold alone."""
    for criterion, variance in zip(criteria, evidence.by_image.covariance.tolist(), strict=True):
        if not math.isfinite(variance):
            problem = f"{criterion.name}: labelled in one fold alone, so what it varies with is unknown"
            raise DataError(FILE, problem, "Leave it out for cross-validations, or label more images.")


def _require_recipe(saved: Saved, recipe: str | None) -> None:
    """Raises DataError if dvc.lock beside it records another recipe: nobody would see what a branch changed."""
    if recipe is not None and counts.document_of(saved).get("recipe") != recipe:
        problem = f"of another recipe than {dvc_lock.FILE} records there"
        raise DataError(saved.evaluation_name, problem, f"Run `{COMMAND}` there, and commit what it writes.")


def _parts(saved: Saved) -> Parts:
    """Each fold of each seed as a run of its own, not yet checked. Raises DataError if the two files do not fit."""
    document = counts.document_of(saved)
    try:
        stated = {
            (scores["seed"], number): json.dumps(scores | {"protocol": fold["protocol"]}).encode()
            for number, fold in enumerate(document["folds"], 1)
            for scores in fold["scores"]
        }
    except (KeyError, TypeError):
        stated = {}
    if len(stated) < crossvalidation.FEWEST or not all(type(seed) is int for seed, _ in stated):
        raise DataError(saved.evaluation_name, "not as this version writes it", REMEDY)
    lines = _lines(saved)
    if {(str(seed), str(number)) for seed, number in stated} != lines.keys():
        problem = f"other folds or seeds than in {FILES.per_image.name}"
        raise DataError(saved.evaluation_name, problem, f"Both files must come from one run: {COMMAND}.")
    if len(stated) != len(document["folds"]) * len({seed for seed, _ in stated}):
        raise DataError(saved.evaluation_name, "a fold without one of the seeds", REMEDY)
    parts = {}
    for (seed, number), evaluation in stated.items():
        label, place = f"{saved.label}, fold {number}", f"{saved.place}fold {number}, seed {seed}: "
        rows = lines[str(seed), str(number)].encode()
        parts[seed, number] = Saved(label, place, saved.commit, evaluation, rows, saved.remedy, FILES)
    return parts


def _lines(saved: Saved) -> dict[tuple[str, str], str]:
    """The lines of each seed and fold, as per_image.csv has them."""
    where = saved.per_image_name
    try:
        header, *rows = csv.reader(io.StringIO(counts.text_of(where, saved.per_image, saved.remedy), newline=""))
    except csv.Error as error:
        raise DataError(where, f"not CSV ({error})", saved.remedy) from None
    if tuple(header[:2]) != crossvalidation.OF_RUN:
        problem = f"columns {', '.join(header)[:80]!r}, expected {', '.join(crossvalidation.OF_RUN)} first"
        raise DataError(where, problem, saved.remedy)
    streams: dict[tuple[str, str], io.StringIO] = {}
    for row in rows:
        key = (row[0], row[1]) if len(row) > 1 else ("", "")
        if key not in streams:
            streams[key] = io.StringIO()
            csv.writer(streams[key]).writerow(header[2:])
        csv.writer(streams[key]).writerow(row[2:])
    return {key: stream.getvalue() for key, stream in streams.items()}


def _require_equal_folds(base: Saved, candidate: Saved, first: Parts, second: Parts) -> None:
    """Raises DataError unless both sides have as many folds, and the same seeds at least two."""
    where = f"{base.label} and {candidate.label}"
    if first.keys() != second.keys():
        problem = " and ".join(_folds_and_seeds(parts) for parts in (first, second))
        raise DataError(where, problem, f"Run `{COMMAND}` with equal --folds, --seeds and train.seed on both sides.")
    if len({seed for seed, _ in first}) < series.FEWEST:
        problem = "one seed, so what seeds change is unknown"
        raise DataError(where, problem, f"Run `{COMMAND} --seeds 2` on both sides.")


def _folds_and_seeds(parts: Parts) -> str:
    seeds, folds = (sorted(set(numbers)) for numbers in zip(*parts, strict=True))
    return f"{len(folds)} folds from seeds {', '.join(map(str, seeds))}"


def _joined(theirs: Saved, candidate: Saved, first: Parts, second: Parts, seed: int) -> Pair:
    """All folds of a seed, as groups of images. Raises DataError if one was evaluated differently on both sides."""
    pairs = [pairing.pair(part, second[key]) for key, part in sorted(first.items()) if key[0] == seed]
    base = _together(theirs.label, [pair.base for pair in pairs])
    return Pair(base, _together(candidate.label, [pair.candidate for pair in pairs]), pairs[0].protocol)


def _together(label: str, folds: Sequence[Side]) -> Side:
    """The images of all folds on one side; its cost is that of the first fold."""
    first, *others = folds
    stems = tuple(chain(*(each.stems for each in folds)))
    if len(set(stems)) < len(stems):
        raise DataError(label, "an image is in two folds", REMEDY)
    objects = [each.objects for each in others if each.objects]
    gaps = [each.gaps for each in folds if each.gaps is not None]
    return replace(
        first,
        label=label,
        stems=stems,
        groups=tuple(f"fold {number}" for number, each in enumerate(folds, 1) for _ in each.stems),
        counts=np.concatenate([each.counts for each in folds]),
        objects=first.objects.and_of(objects) if first.objects else None,
        gaps=np.concatenate(gaps) if gaps else None,
    )
