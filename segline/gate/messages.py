"""The sentences of a judgement: what was found, and what would make it surer."""

import math

from segline.gate.decision import Finding, Verdict
from segline.gate.rules import SeedNoise

SAME = "Every count is equal on both sides: the same predictions, so no seed noise lies between them."

UNTIED = "Nothing ties these scores to the code: no dvc.lock here names their files as those that evaluate wrote."


def summary(finding: Finding) -> str:
    """Why the verdict is what it is, in plain words."""
    name, margin = finding.criterion.name, finding.criterion.margin
    low, high = finding.interval.low, finding.interval.high
    if finding.verdict is Verdict.REGRESSION:
        sure = f"a loss of nothing is excluded (at best {high:+.4f})"
        if finding.criterion.floor is not None:
            return f"{name}: below its floor by {-finding.difference:.4f}, and {sure}."
        return f"{name}: lost {-finding.difference:.4f}, more than its margin of {margin:g}, and {sure}."
    if finding.verdict is Verdict.OK:
        return f"{name}: at worst {low:+.4f}, within its margin of {margin:g}."
    found = f"{name}: inconclusive. The difference lies anywhere from {low:+.4f} to {high:+.4f}"
    if finding.lost:
        found += f"; what was lost exceeds the margin of {margin:g}, but chance is not excluded"
    else:
        found += f"; a loss beyond the margin of {margin:g} is not excluded"
    return f"{found}. {narrowing(finding)}"


def narrowing(finding: Finding) -> str:
    """What would settle an inconclusive finding: which source of doubt is the larger, and how many images would do."""
    room = -finding.difference if finding.lost else finding.criterion.margin + finding.difference
    parts = f"Images alone leave +-{finding.images:.4f}, seeds alone +-{finding.seeds:.4f}; to settle it, +-{room:.4f}"
    if finding.seeds >= room:
        remedies = ["more seeds in `segline noise`", "a recipe that varies less"]
        remedies += [] if finding.lost else ["a wider margin"]
        return f"{parts} is needed, which no number of images gives: {', or '.join(remedies)} may."
    factor = max(1.1, finding.images**2 / (room**2 - finding.seeds**2))
    return f"{parts} is needed: about {math.ceil(10 * factor) / 10:,.1f} times as many test images, at this difference."


def noise(found: SeedNoise | None, path: str) -> str:
    """What the intervals hold of the seeds."""
    if found is None:
        return (
            f"Seed noise is unknown ({path} is missing): the intervals speak of these two models on other images, not "
            "of their two recipes with other seeds. `segline noise` measures it."
        )
    made = f" at commit {found.commit[:10]}" if found.commit else ""
    return f"Seed noise: standard deviation over {len(found.seeds)} seeds, measured{made} ({path})."


def other_recipe(found: SeedNoise, path: str) -> str:
    """That the spread may be another's."""
    if found.recipe is None:
        return f"{path} does not say which recipe it was measured with: `segline noise` writes that now."
    return f"No dvc.lock of the two sides tells of the recipe that {path} was measured with: measure it again."


def few(images: int, name: str = "") -> str:
    """A warning of intervals that are too narrow."""
    held = f"{name} has pixels in" if name else "There are"
    return f"{held} only {images} images{'' if name else ' with labelled pixels'}: intervals of so few are too narrow."


def few_groups(count: int) -> str:
    """A warning where images that belong together leave little to draw from."""
    if count == 1:
        return "All images are of one group: the interval is too narrow by an unknown amount."
    return f"There are only {count} groups of images: the interval over so few is too narrow."


def by_group(finding: Finding, other: Verdict | None) -> str:
    """That images which belong together say something else."""
    return f"{finding.criterion.name}: with whole groups drawn instead of images, the verdict would be {other}."


def own(name: str, base: str) -> str:
    """That nobody but the branch answers for what it is judged by."""
    return f"{base} has no {name} for this evaluation, so this branch is judged by its own: look at that file."


def changed(name: str, base: str) -> str:
    """That the branch brings other rules, which wait."""
    return f"This branch changes {name}: that of {base} decides, and the change takes effect once it is there."
