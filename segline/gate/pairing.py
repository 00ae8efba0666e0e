"""Two sides of one evaluation, image by image: how they were evaluated is compared before any number."""

from dataclasses import dataclass, replace

from segline.core.errors import DataError, combined
from segline.gate import counts
from segline.gate.baseline import Saved
from segline.gate.counts import Side
from segline.reporting import formatting
from segline.scoring import confusion

NAMED = 5  # of the images that do not pair
REMEDY = "Only equal evaluations compare: run the pipeline again on one of the sides."


@dataclass(frozen=True)
class Pair:
    """Both sides with their images in one order, that of the stems."""

    base: Side
    candidate: Side
    protocol: dict[str, str]

    @property
    def holding(self) -> dict[str, int]:
        """How many images hold each class in truth."""
        images = confusion.present(self.base.counts).sum(axis=0).tolist()
        return dict(zip(self.base.classes, images, strict=True))


def pair(base: Saved, candidate: Saved) -> Pair:
    """Both sides, read and found comparable. Raises DataError, naming every difference."""
    protocols = counts.protocol(base), counts.protocol(candidate)
    where = f"{base.label} and the working tree"
    named = counts.classes(base), counts.classes(candidate)
    require_equal(where, *protocols, REMEDY, _differing(*named))
    sides = counts.read(base), counts.read(candidate)
    if differing := _differing(*(one.classes for one in sides)):
        raise DataError(where, differing, REMEDY)
    _require_same_images(where, *sides)
    first, second = (_ordered(one) for one in sides)
    _require_same_truth(where, first, second)
    return Pair(first, second, protocols[0])


def require_equal(where: str, first: dict[str, str], second: dict[str, str], remedy: str, classes: str = "") -> None:
    """Raises DataError for each entry in which two protocols differ, all at once.

    `classes` is how the class lists differ, if so: one of the things that `data` is a fingerprint of.
    """
    problems = []
    for key in sorted(first.keys() | second.keys()):
        values = [repr(found[key]) if key in found else "missing" for found in (first, second)]
        if values[0] != values[1]:
            meaning = formatting.PROTOCOL.get(key, "an entry that this version does not know")
            meaning += f"; {classes}" if key == "data" and classes else ""
            problems.append(DataError(f"{where}: protocol.{key}", f"{values[0]} and {values[1]} ({meaning})", remedy))
    if problems:
        raise combined(f"{where}: evaluated in different ways", problems)


def _differing(base: tuple[str, ...] | None, candidate: tuple[str, ...] | None) -> str:
    """How two class lists differ; nothing if they are equal, or one is unknown."""
    if base is None or candidate is None or base == candidate:
        return ""
    lost = [name for name in base if name not in candidate]
    new = [name for name in candidate if name not in base]
    parts = [f"only the {who} has {', '.join(names)}" for who, names in (("base", lost), ("candidate", new)) if names]
    return f"class lists differ: {'; '.join(parts) or 'another order'}"


def _require_same_images(where: str, base: Side, candidate: Side) -> None:
    lost, new = set(base.stems) - set(candidate.stems), set(candidate.stems) - set(base.stems)
    parts = [f"only the {who} has {_named(stems)}" for who, stems in (("base", lost), ("candidate", new)) if stems]
    if parts:
        raise DataError(where, f"images do not pair: {'; '.join(parts)}", REMEDY)


def _require_same_truth(where: str, base: Side, candidate: Side) -> None:
    """The same masks have the same pixels of each class, whatever was predicted."""
    differ = (confusion.truth(base.counts) != confusion.truth(candidate.counts)).any(axis=1)
    if differ.any():
        stems = {stem for stem, other in zip(base.stems, differ, strict=True) if other}
        raise DataError(where, f"the true pixels of the classes differ in {_named(stems)}", REMEDY)


def _named(stems: set[str]) -> str:
    shown = ", ".join(sorted(stems)[:NAMED])
    more = f" and {len(stems) - NAMED} more" if len(stems) > NAMED else ""
    return f"{len(stems)} image{'s' * (len(stems) != 1)}: {shown}{more}"


def _ordered(one: Side) -> Side:
    order = sorted(range(len(one.stems)), key=one.stems.__getitem__)
    stems, groups = tuple(one.stems[row] for row in order), tuple(one.groups[row] for row in order)
    return replace(one, stems=stems, groups=groups, counts=one.counts[order])
