"""A branch judged: both sides are read and compared by the criteria, with notes on what limits the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segline.gate import decision, messages, pairing, rule_source, rules, saved_metrics
from segline.gate.decision import Finding, Verdict
from segline.gate.objects import Objects
from segline.gate.pairing import Pair
from segline.gate.rule_source import Effective
from segline.gate.rules import ECE, Criterion, SeedNoise
from segline.gate.saved_metrics import Saved
from segline.reporting import results
from segline.reproducibility import dvc_lock
from segline.scoring import confusion

WORST = 5  # images that are named
CANDIDATE = "Rebuild it: make repro. (Or take the committed one: git checkout metrics)"


@dataclass(frozen=True)
class Change:
    """A number on both sides; `name` is a class, an image or a cost."""

    name: str
    base: float
    candidate: float

    @property
    def difference(self) -> float:
        """candidate - base."""
        return self.candidate - self.base


@dataclass(frozen=True)
class Judgement:
    """`classes` are sorted by loss, `images` are those that lost most; `notes` are sentences.

    `own` and `changed` name files as in `rule_source.Effective`.
    """

    base: str
    commit: str | None
    findings: list[Finding]
    classes: list[Change]
    images: list[Change]
    cost: list[Change]
    notes: list[str]
    own: list[str]
    changed: list[str]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all findings."""
        return decision.overall(self.findings)

    def exit_code(self, strict: bool) -> int:
        """1 for a regression, else 0; if `strict`, 2 for inconclusive."""
        if self.verdict is Verdict.REGRESSION:
            return 1
        return 2 if strict and self.verdict is Verdict.INCONCLUSIVE else 0


def judge(base: str, root: Path) -> Judgement:
    """Judges the working tree at `root` against a revision or a folder. Raises PipelineError if that is impossible."""
    locked = saved_metrics.locked_stages(root)
    candidate = saved_metrics.in_folder(root / saved_metrics.evaluation().parent, "the working tree", CANDIDATE)
    tied = saved_metrics.are_locked(candidate, locked)
    saved = saved_metrics.read(base, root)
    pair = pairing.pair(saved, candidate)
    effective = rule_source.effective(pair, root)
    noise, noise_file = effective.noise, effective.noise_file
    notes = [] if tied else [messages.UNTIED]
    if noise and (noise.recipe is None or noise.recipe not in _recipes(locked, saved, root)):
        notes.append(messages.other_recipe(noise, noise_file))
    notes += [messages.own(name, base) for name in effective.own]
    notes += [messages.changed(name, base) for name in effective.changed]
    return between(pair, saved.label, saved.commit, effective, notes)


def between(pair: Pair, base: str, commit: str | None, rules: Effective, notes: Sequence[str] = ()) -> Judgement:
    """Judges two sides by these rules; `notes` are added to those on the images and the noise."""
    judged = findings(pair, rules.criteria, rules.noise, Path(rules.noise_file))
    all_notes = [messages.noise(rules.noise, rules.noise_file), *_notes(pair, judged), *notes]
    numbers = _classes(pair), _images(pair), _cost(pair)
    return Judgement(base, commit, judged, *numbers, all_notes, rules.own, rules.changed)


def _recipes(locked: saved_metrics.Stages, base: Saved, root: Path) -> set[str | None]:
    return {dvc_lock.recipe(locked), saved_metrics.recipe_of(base, root)}


def findings(pair: Pair, criteria: Sequence[Criterion], noise: SeedNoise | None, path: Path) -> list[Finding]:
    """Judges every criterion. If all counts are equal, no seed lies between the two sides, and no noise is added."""
    noises = [None if noise is None else rules.of_criterion(noise, criterion, path) for criterion in criteria]
    if _same(pair):
        noises = [None if criterion.floor is None else one for criterion, one in zip(criteria, noises, strict=True)]
    return decision.decide(decision.gather(pair, criteria), criteria, noises)


def _same(pair: Pair) -> bool:
    base, candidate = pair.base, pair.candidate
    one, other = base.objects, candidate.objects
    if not np.array_equal(base.counts, candidate.counts) or (one is None) != (other is None):
        return False
    if base.gaps is not None and candidate.gaps is not None and not np.array_equal(base.gaps, candidate.gaps):
        return False
    return one is None or other is None or _same_objects(one, other)


def _same_objects(base: Objects, candidate: Objects) -> bool:
    """Also in their scores and matches, which AP50 depends on."""
    listed = [[image for images in each.predicted for image in images] for each in (base, candidate)]
    return (
        base.classes == candidate.classes
        and np.array_equal(base.cells, candidate.cells)
        and all(
            np.array_equal(one.scores, other.scores) and np.array_equal(one.hits, other.hits)
            for one, other in zip(*listed, strict=True)
        )
    )


def _notes(pair: Pair, judged: Sequence[Finding]) -> list[str]:
    notes = [messages.SAME] if _same(pair) else []
    if any(finding.criterion.metric == ECE for finding in judged):
        notes.append(messages.TURNED)
    images = int(confusion.truth(pair.base.counts).any(axis=1).sum())
    if images < results.FEW:
        notes.append(messages.few(images))
    images_by_class = pair.images_by_class
    for finding in judged:
        name = finding.criterion.label
        if name is not None and images_by_class[name] < results.FEW <= images:
            notes.append(messages.few(images_by_class[name], name))
    groups = decision.groups(pair)
    if groups is not None and groups < results.FEW:
        notes.append(messages.few_groups(groups))
    grouped = [(finding, finding.verdict_by_group) for finding in judged]
    return notes + [
        messages.by_group(finding, other) for finding, other in grouped if other not in (None, finding.verdict)
    ]


def _classes(pair: Pair) -> list[Change]:
    present = confusion.present(pair.base.counts.sum(axis=0))
    scores = [confusion.iou(one.counts.sum(axis=0)).tolist() for one in (pair.base, pair.candidate)]
    rows = zip(pair.base.classes, *scores, present, strict=True)
    changes = [Change(name, base, candidate) for name, base, candidate, is_present in rows if is_present]
    return sorted(changes, key=lambda change: (change.difference, change.name))


def _images(pair: Pair) -> list[Change]:
    """Those that lost most of their own mIoU, the mean over the classes present in the image, as in per_image.csv."""
    rows = zip(pair.base.stems, pair.base.counts, pair.candidate.counts, strict=True)
    changes = [Change(stem, _image_miou(base), _image_miou(candidate)) for stem, base, candidate in rows]
    lost = [change for change in changes if change.difference < 0]
    return sorted(lost, key=lambda change: (change.difference, change.name))[:WORST]


def _image_miou(counts: confusion.Counts) -> float:
    return float(confusion.miou(counts))


def _cost(pair: Pair) -> list[Change]:
    names = [name for name in pair.base.cost if name in pair.candidate.cost]
    return [Change(name, pair.base.cost[name], pair.candidate.cost[name]) for name in names]
