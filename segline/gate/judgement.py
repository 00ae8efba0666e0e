"""A branch judged: both sides are read and compared by the criteria, with notes on what limits the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segline.gate import decision, messages, pairing, reach, rule_source, rules, samples, saved_metrics
from segline.gate.bootstrap import Noise
from segline.gate.decision import Finding, Verdict
from segline.gate.objects import Objects
from segline.gate.pairing import Pair
from segline.gate.rule_source import Effective
from segline.gate.rules import ECE, Criterion, SeedNoise
from segline.gate.saved_metrics import Saved, Stages
from segline.reporting import results
from segline.reproducibility import dvc_lock
from segline.scoring import confusion

Seeds = tuple[int, ...]

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

    `own`, `changed` and `strict` are those of `rule_source.Effective`. `seeds` are those that both sides were trained
    from, of at most `budget`; none if one given run of each was judged.
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
    strict: bool
    seeds: Seeds = ()
    budget: int = 0

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all findings."""
        return decision.overall(self.findings)

    def exit_code(self, strict: bool) -> int:
        """1 for a regression, else 0; 2 for inconclusive if that is `strict` by the argument or by the rules."""
        if self.verdict is Verdict.REGRESSION:
            return 1
        return 2 if (strict or self.strict) and self.verdict is Verdict.INCONCLUSIVE else 0


@dataclass(frozen=True)
class Opening:
    """Two saved runs found comparable, and by which rules. `described` says that `rules.noise` is of one's recipe."""

    pair: Pair
    rules: Effective
    described: bool
    notes: list[str]


def opening(base: str, root: Path) -> Opening:
    """The working tree at `root` and its base, revision or folder. Raises PipelineError if nothing can be judged."""
    locked = saved_metrics.locked_stages(root)
    candidate = saved_metrics.in_folder(root / saved_metrics.evaluation().parent, "the working tree", CANDIDATE)
    tied = saved_metrics.are_locked(candidate, locked)
    saved = saved_metrics.read(base, root)
    theirs = saved_metrics.stages_of(saved, root)
    pair = pairing.pair(saved, candidate)
    effective = rule_source.effective(pair, root)
    noise, noise_file = effective.noise, effective.noise_file
    described = (
        noise is not None and noise.recipe is not None and noise.recipe in map(dvc_lock.recipe, (locked, theirs))
    )
    notes = [] if tied else [messages.UNTIED]
    notes += [messages.OTHER_DATA] if _trained_on_other_data((saved, theirs), (candidate, locked)) else []
    notes += [messages.other_recipe(noise, noise_file)] if noise and not described else []
    notes += [messages.own(name, base) for name in effective.own]
    notes += [messages.changed(name, base) for name in effective.changed]
    return Opening(pair, effective, described, notes)


def judge(base: str, root: Path) -> Judgement:
    """Judges the working tree at `root` against a revision or a folder. Raises PipelineError if that is impossible."""
    opened = opening(base, root)
    return between(opened.pair, opened.rules, opened.notes)


def between(pair: Pair, rules: Effective, notes: Sequence[str] = ()) -> Judgement:
    """Judges two runs by these rules; `notes` are added to those on the images and the noise."""
    path = Path(rules.noise_file)
    judged = findings(pair, rules.criteria, rules.noise, path)
    known = [messages.noise(rules.noise, rules.noise_file)]
    if rules.noise and (doubt := reach.doubt(rules.criteria, rules.noise, path, 1)):
        known.append(doubt)
    return of_findings([pair], judged, rules, [*known, *notes_on_images(pair, judged, same(pair)), *notes])


def of_findings(
    pairs: Sequence[Pair],
    judged: list[Finding],
    rules: Effective,
    notes: list[str],
    *,
    seeds: Seeds = (),
    budget: int = 0,
) -> Judgement:
    """The judgement that these findings on the pairs are; scores of classes and images are means over the pairs."""
    base = pairs[0].base
    numbers = _classes(pairs), _images(pairs), _cost(pairs[0])
    own = rules.own, rules.changed, rules.strict
    return Judgement(base.label, base.commit, judged, *numbers, notes, *own, seeds, budget)


def _trained_on_other_data(*sides: tuple[Saved, Stages]) -> bool:
    """Whether it is sure that files outside the evaluated split differ, as users change them to correct labels.

    Arrays alone may differ by parameters of preprocess, and data.input by a file that is not used: all have to differ.
    """
    base, candidate = (saved_metrics.trained_on(*side) for side in sides)
    if base is None or candidate is None:
        return False
    return all(one != other for one, other in zip(base, candidate, strict=True))


def findings(pair: Pair, criteria: Sequence[Criterion], noise: SeedNoise | None, path: Path) -> list[Finding]:
    """Judges every criterion. If all counts are equal, no seed lies between the two sides, and no noise is added."""
    known = noises(criteria, noise, path)
    if same(pair):
        known = [None if criterion.floor is None else one for criterion, one in zip(criteria, known, strict=True)]
    return decision.decide(decision.gather(pair, criteria), criteria, known)


def noises(criteria: Sequence[Criterion], noise: SeedNoise | None, path: Path) -> list[Noise | None]:
    """The seed noise of each criterion; None if it is unknown."""
    return [None if noise is None else rules.of_criterion(noise, criterion, path) for criterion in criteria]


def same(pair: Pair) -> bool:
    """Whether both sides have equal counts and objects in every image."""
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


def notes_on_images(pair: Pair, judged: Sequence[Finding], is_same: bool) -> list[str]:
    """What limits the verdict; `is_same` says that both sides predict the same."""
    notes = [messages.SAME] if is_same else []
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
    groups = samples.groups(pair)
    if groups is not None and groups < results.FEW:
        notes.append(messages.few_groups(groups))
    grouped = [(finding, finding.verdict_by_group) for finding in judged]
    return notes + [
        messages.by_group(finding, other) for finding, other in grouped if other not in (None, finding.verdict)
    ]


def _classes(pairs: Sequence[Pair]) -> list[Change]:
    present = confusion.present(pairs[0].base.counts.sum(axis=0))
    sides = [[pair.base for pair in pairs], [pair.candidate for pair in pairs]]
    scores = [np.mean([confusion.iou(one.counts.sum(axis=0)) for one in side], axis=0).tolist() for side in sides]
    rows = zip(pairs[0].base.classes, *scores, present, strict=True)
    changes = [Change(name, base, candidate) for name, base, candidate, is_present in rows if is_present]
    return sorted(changes, key=lambda change: (change.difference, change.name))


def _images(pairs: Sequence[Pair]) -> list[Change]:
    """Those that lost most of their own mIoU, the mean over the classes present in the image, as in per_image.csv."""
    sides = [[pair.base for pair in pairs], [pair.candidate for pair in pairs]]
    scores = [np.mean([confusion.miou(one.counts) for one in side], axis=0).tolist() for side in sides]
    changes = [
        Change(stem, base, candidate) for stem, base, candidate in zip(pairs[0].base.stems, *scores, strict=True)
    ]
    lost = [change for change in changes if change.difference < 0]
    return sorted(lost, key=lambda change: (change.difference, change.name))[:WORST]


def _cost(pair: Pair) -> list[Change]:
    names = [name for name in pair.base.cost if name in pair.candidate.cost]
    return [Change(name, pair.base.cost[name], pair.candidate.cost[name]) for name in names]
