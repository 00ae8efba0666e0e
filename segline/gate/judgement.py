"""A branch judged: both sides read, compared by the criteria, and what a reader wants to know beside the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segline import results
from segline.gate import baseline, comparison, criteria, evidence, pairing, verdict, wording
from segline.gate.criteria import Criterion, SeedNoise
from segline.gate.pairing import Pair
from segline.gate.verdict import Finding, Verdict

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
    """`classes` by how much they lost, `images` those that lost most; `notes` are sentences."""

    base: str
    commit: str | None
    findings: list[Finding]
    classes: list[Change]
    images: list[Change]
    cost: list[Change]
    notes: list[str]

    @property
    def verdict(self) -> Verdict:
        """That of all findings."""
        return verdict.overall(self.findings)

    def exit_code(self, strict: bool) -> int:
        """1 for a regression, 0 for a pass; inconclusive is 0, or 2 where `strict`."""
        codes = {Verdict.OK: 0, Verdict.REGRESSION: 1, Verdict.INCONCLUSIVE: 2 if strict else 0}
        return codes[self.verdict]


def judge(base: str, root: Path) -> Judgement:
    """The working tree at `root` against a revision or a folder. Raises PipelineError where they do not compare."""
    rules = criteria.read_rules(root / criteria.FILE)
    candidate = baseline.in_folder(root / baseline.FOLDER, "the working tree", CANDIDATE)
    pair = pairing.pair(baseline.read(base, root), candidate)
    claims = criteria.criteria(rules, _holding(pair), criteria.FILE)
    noise = criteria.read_noise(root / rules.noise, pair.protocol)
    judged = findings(pair, claims, noise, Path(rules.noise))
    notes = [wording.noise(noise, rules.noise), *_notes(pair, judged), *_changed_rules(pair, rules.noise, root)]
    return Judgement(pair.base.label, pair.base.commit, judged, _classes(pair), _images(pair), _cost(pair), notes)


def findings(pair: Pair, claims: Sequence[Criterion], noise: SeedNoise | None, path: Path) -> list[Finding]:
    """Every claim judged. Two sides with the same counts throughout differ in no seed, so none is added there."""
    spreads = [None if noise is None else criteria.of_criterion(noise, claim, path) for claim in claims]
    if _same(pair):
        spreads = [None if claim.floor is None else spread for claim, spread in zip(claims, spreads, strict=True)]
    return verdict.decide(evidence.gather(pair, claims), claims, spreads)


def _same(pair: Pair) -> bool:
    return np.array_equal(pair.base.counts, pair.candidate.counts)


def _holding(pair: Pair) -> dict[str, int]:
    """How many images hold each class in truth."""
    images = (comparison.truth(pair.base.counts) > 0).sum(axis=0).tolist()
    return dict(zip(pair.base.classes, images, strict=True))


def _notes(pair: Pair, judged: Sequence[Finding]) -> list[str]:
    notes = [wording.SAME] if _same(pair) else []
    images = int(comparison.truth(pair.base.counts).any(axis=1).sum())
    if images < results.FEW:
        notes.append(wording.few(images))
    holding = _holding(pair)
    for finding in judged:
        name = finding.criterion.metric.removeprefix("iou.")
        if name != finding.criterion.metric and holding[name] < results.FEW <= images:
            notes.append(wording.few(holding[name], name))
    grouped = [(finding, finding.verdict_by_group) for finding in judged]
    return notes + [
        wording.by_group(finding, other) for finding, other in grouped if other not in (None, finding.verdict)
    ]


def _changed_rules(pair: Pair, noise: str, root: Path) -> list[str]:
    """A branch that moves its own goalposts is told of."""
    if pair.base.commit is None:
        return []
    names = [str(criteria.FILE), noise]
    return [wording.changed(name, pair.base.label) for name in names if _changed(pair.base.commit, name, root)]


def _changed(commit: str, name: str, root: Path) -> bool:
    path = root / name
    return baseline.at_commit(commit, Path(name), root) != (path.read_bytes() if path.is_file() else None)


def _classes(pair: Pair) -> list[Change]:
    present = comparison.present(pair.base.counts)
    scores = [comparison.iou(one.counts.sum(axis=0)).tolist() for one in (pair.base, pair.candidate)]
    rows = zip(pair.base.classes, *scores, present, strict=True)
    changes = [Change(name, base, candidate) for name, base, candidate, there in rows if there]
    return sorted(changes, key=lambda change: (change.difference, change.name))


def _images(pair: Pair) -> list[Change]:
    """By the mean IoU over the classes that the image holds in truth, as per_image.csv has it."""
    rows = zip(pair.base.stems, pair.base.counts, pair.candidate.counts, strict=True)
    changes = [Change(stem, _image_miou(base), _image_miou(candidate)) for stem, base, candidate in rows]
    lost = [change for change in changes if change.difference < 0]
    return sorted(lost, key=lambda change: (change.difference, change.name))[:WORST]


def _image_miou(counts: comparison.Counts) -> float:
    return float(comparison.miou(counts, comparison.truth(counts) > 0))


def _cost(pair: Pair) -> list[Change]:
    names = [name for name in pair.base.cost if name in pair.candidate.cost]
    return [Change(name, pair.base.cost[name], pair.candidate.cost[name]) for name in names]
