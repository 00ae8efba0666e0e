"""A branch judged: both sides read, compared by the criteria, and what a reader wants to know beside the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segline.gate import baseline, decision, freshness, messages, pairing, rule_source, rules
from segline.gate.decision import Finding, Verdict
from segline.gate.pairing import Pair
from segline.gate.rules import Criterion, SeedNoise
from segline.reporting import results
from segline.scoring import confusion

WORST = 5  # images that are named
CANDIDATE = "Make it again: make repro. (git checkout metrics brings the committed one back.)"


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
    """`classes` by how much they lost, `images` those that lost most; `notes` are sentences.

    `own` and `changed` name files as `authority.Authority` does.
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
        """That of all findings."""
        return decision.overall(self.findings)

    def exit_code(self, strict: bool) -> int:
        """1 for a regression, else 0; where `strict`, 2 for inconclusive."""
        if self.verdict is Verdict.REGRESSION:
            return 1
        return 2 if strict and self.verdict is Verdict.INCONCLUSIVE else 0


def judge(base: str, root: Path) -> Judgement:
    """The working tree at `root` against a revision or a folder. Raises PipelineError where they do not compare."""
    locked = freshness.read(root)
    candidate = baseline.in_folder(root / baseline.FOLDER, "the working tree", CANDIDATE)
    tied = freshness.holds(locked, candidate)
    pair = pairing.pair(baseline.read(base, root), candidate)
    found = rule_source.find(pair, root)
    judged = findings(pair, found.claims, found.noise, Path(found.noise_file))
    notes = [messages.noise(found.noise, found.noise_file), *_notes(pair, judged)]
    notes += [] if tied else [messages.UNTIED]
    if found.noise and found.noise.recipe not in freshness.recipes(locked, pair, root):
        notes.append(messages.other_recipe(found.noise, found.noise_file))
    notes += [messages.own(name, base) for name in found.own] + [messages.changed(name, base) for name in found.changed]
    numbers = _classes(pair), _images(pair), _cost(pair)
    return Judgement(pair.base.label, pair.base.commit, judged, *numbers, notes, found.own, found.changed)


def findings(pair: Pair, claims: Sequence[Criterion], noise: SeedNoise | None, path: Path) -> list[Finding]:
    """Every claim judged. Two sides with the same counts throughout differ in no seed, so none is added there."""
    spreads = [None if noise is None else rules.of_criterion(noise, claim, path) for claim in claims]
    if _same(pair):
        spreads = [None if claim.floor is None else spread for claim, spread in zip(claims, spreads, strict=True)]
    return decision.decide(decision.gather(pair, claims), claims, spreads)


def _same(pair: Pair) -> bool:
    return np.array_equal(pair.base.counts, pair.candidate.counts)


def _notes(pair: Pair, judged: Sequence[Finding]) -> list[str]:
    notes = [messages.SAME] if _same(pair) else []
    images = int(confusion.truth(pair.base.counts).any(axis=1).sum())
    if images < results.FEW:
        notes.append(messages.few(images))
    holding = pair.holding
    for finding in judged:
        name = finding.criterion.label
        if name is not None and holding[name] < results.FEW <= images:
            notes.append(messages.few(holding[name], name))
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
    changes = [Change(name, base, candidate) for name, base, candidate, there in rows if there]
    return sorted(changes, key=lambda change: (change.difference, change.name))


def _images(pair: Pair) -> list[Change]:
    """By the mean IoU over the classes that the image holds in truth, as per_image.csv has it."""
    rows = zip(pair.base.stems, pair.base.counts, pair.candidate.counts, strict=True)
    changes = [Change(stem, _image_miou(base), _image_miou(candidate)) for stem, base, candidate in rows]
    lost = [change for change in changes if change.difference < 0]
    return sorted(lost, key=lambda change: (change.difference, change.name))[:WORST]


def _image_miou(counts: confusion.Counts) -> float:
    return float(confusion.miou(counts))


def _cost(pair: Pair) -> list[Change]:
    names = [name for name in pair.base.cost if name in pair.candidate.cost]
    return [Change(name, pair.base.cost[name], pair.candidate.cost[name]) for name in names]
