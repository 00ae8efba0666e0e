"""The sentences of a judgement: what the data show, and what would settle a doubt."""

import math
from collections.abc import Mapping, Sequence

from segline.gate.decision import Finding, Verdict
from segline.gate.rules import SeedNoise

SAME = "Both models predict exactly the same (every count is equal), so no seed noise is added."
TURNED = "ece: a rise is a loss, so its differences are base - candidate."
OTHER_DATA = "Train or val data differ between the two sides: this compares data and recipe together."
UNTIED = "Nothing ties these scores to the code: no dvc.lock here records them as outputs of evaluate."
UNTIED_FOLDS = "Nothing ties one side's cross-validation to its code: no dvc.lock there has the stages that it ran."


def summary(finding: Finding) -> str:
    """The verdict on a criterion and the reason for it."""
    name, margin = finding.criterion.name, f"the margin of {finding.criterion.margin:g}"
    has_floor = finding.criterion.floor is not None
    low, high = finding.interval.low, finding.interval.high
    if finding.verdict is Verdict.REGRESSION:
        if has_floor:
            return f"{name}: {-finding.difference:.4f} below the floor, and at best still below it ({high:+.4f})."
        return f"{name}: lost {-finding.difference:.4f}, more than {margin}, and at best still a loss ({high:+.4f})."
    if finding.verdict is Verdict.OK:
        return f"{name}: at worst {low:+.4f}, {'not below the floor' if has_floor else f'within {margin}'}."
    if finding.lost:
        doubt = f"{'it is below the floor' if has_floor else f'the loss exceeds {margin}'}, but that may be chance"
    else:
        doubt = f"{'a value below the floor' if has_floor else f'a loss beyond {margin}'} cannot be ruled out"
    span = f"the true difference is between {low:+.4f} and {high:+.4f}"
    return f"{name}: inconclusive: {span}; {doubt}. {settling(finding)}"


def settling(finding: Finding) -> str:
    """What would settle an inconclusive finding: fewer doubts from the images, or from the seeds."""
    needed = -finding.difference if finding.lost else finding.criterion.margin + finding.difference
    if finding.over_folds:
        parts = f"What differs from fold to fold leaves +-{finding.images:.4f}, the seeds +-{finding.seeds:.4f}"
        return f"{parts}; a verdict needs +-{needed:.4f} from both together. More seeds, folds or images may help."
    parts = (
        f"The choice of images alone leaves +-{finding.images:.4f}, the seeds alone +-{finding.seeds:.4f}; "
        f"a verdict needs +-{needed:.4f} from both together"
    )
    if finding.runs > 1:
        return f"{parts}{_more_seeds(finding, needed)}"
    if finding.seeds >= needed:
        remedies = ["more seeds in `segline noise`", "a recipe that varies less between seeds"]
        remedies += [] if finding.lost else ["a wider margin"]
        return f"{parts}, which no number of images can give. What may help: {', or '.join(remedies)}."
    factor = max(1.1, finding.images**2 / (needed**2 - finding.seeds**2))
    factor = math.ceil(10 * factor) / 10
    return f"{parts}: about {factor:,.1f} times as many test images, if the difference stays as it is."


def _more_seeds(finding: Finding, needed: float) -> str:
    if finding.images >= needed:
        return ", which no number of seeds can give. What may help: more test images."
    factor = finding.seeds**2 / (needed**2 - finding.images**2)
    return f": about {max(finding.runs + 1, math.ceil(factor * finding.runs))} seeds, if the difference stays as it is."


def noise(known: SeedNoise | None, path: str) -> str:
    """What the intervals include of the variation between seeds."""
    if known is None:
        return (
            f"Seed noise is unknown ({path} is missing, or of other data): the intervals hold for these two trained"
            " models, not for their recipes with other seeds. `segline noise` measures it."
        )
    made = f" at commit {known.commit[:10]}" if known.commit else ""
    return f"Seed noise: standard deviation over {len(known.seeds)} seeds, measured{made} ({path})."


def pooled(known: SeedNoise | None, path: str) -> str:
    """What the intervals of several seeds a side know of the variation between seeds."""
    if known is None:
        return f"Seed noise is that of these runs alone: {path} is missing, or of other data or another recipe."
    return f"Seed noise is that of these runs and of the {len(known.seeds)} seeds of {path}, pooled."


def cross_validated(images: int, folds: int, seeds: int) -> str:
    """What a judgement of two cross-validations is of."""
    return (
        f"Cross-validation: {images} images in {folds} folds, each predicted from {seeds} seeds a side by models that "
        "have not seen it. Intervals are over folds and seeds."
    )


def trained(made: int, runs: int, folder: str, machine: Mapping[str, str]) -> str:
    """Where the runs of both sides were made."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    return f"{made} of {runs} runs were made now, the others kept in {folder}; all on this kind of machine: {facts}."


def packages(label: str, others: Sequence[str]) -> str:
    """A note that a side was trained with other packages than it pins."""
    return f"Both sides were trained with the packages that are installed here, but {label} pins {', '.join(others)}."


def other_recipe(known: SeedNoise, path: str) -> str:
    """A warning that the seed noise may belong to another recipe."""
    if known.recipe is None:
        return f"{path} does not say which recipe it was measured with: run `segline noise` again."
    return f"Neither side's dvc.lock records the recipe that {path} was measured with: run `segline noise` again."


def few(images: int, name: str = "") -> str:
    """A warning of intervals that are too narrow."""
    subject = f"{name} has pixels in" if name else "There are"
    suffix = "" if name else " with labelled pixels"
    return f"{subject} only {images} images{suffix}: intervals from so few are too narrow."


def few_groups(count: int) -> str:
    """A warning that images which belong together leave little to resample."""
    if count == 1:
        return "All images belong to one group: the interval is too narrow, by an unknown amount."
    return f"There are only {count} groups of images: an interval from so few is too narrow."


def by_group(finding: Finding, other: Verdict | None) -> str:
    """A note that resampling groups leads to another verdict."""
    return f"{finding.criterion.name}: with whole groups resampled instead of images, the verdict would be {other}."


def own(name: str, base: str) -> str:
    """A note that the branch is judged by a file that it brought itself."""
    return f"{base} has no {name} for this evaluation, so this branch is judged by its own: please review that file."


def changed(name: str, base: str) -> str:
    """A note that the branch changes rules, without effect on its own judgement."""
    return f"This branch changes {name}: the version in {base} decides; the change takes effect once it is there."
