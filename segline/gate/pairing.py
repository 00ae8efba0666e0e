"""Two sides of one evaluation, matched image by image. How they were evaluated is compared before any score is."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError, combined
from segline.gate import counts
from segline.gate.counts import Side
from segline.gate.saved_metrics import Saved
from segline.reporting import formatting
from segline.scoring import confusion

Numbers = npt.NDArray[np.int64]

NAMED = 5  # of the images without a match
REMEDY = "Only equal evaluations can be compared: run the pipeline again on one side, or name a base of these data."


@dataclass(frozen=True)
class Pair:
    """Both sides with their images in the same order, sorted by stem."""

    base: Side
    candidate: Side
    protocol: dict[str, str]

    @property
    def images_with_objects(self) -> int | None:
        """The number of images with a true object; None unless both sides score objects."""
        if self.base.objects is None or self.candidate.objects is None:
            return None
        return int(self.base.objects.truths.any(axis=1).sum())

    @property
    def calibrated(self) -> bool:
        """Whether both sides have the confidences of their pixels."""
        return self.base.gaps is not None and self.candidate.gaps is not None

    @property
    def images_by_class(self) -> dict[str, int]:
        """The number of images with true pixels of each class."""
        images = confusion.present(self.base.counts).sum(axis=0).tolist()
        return dict(zip(self.base.classes, images, strict=True))


def pair(base: Saved, candidate: Saved) -> Pair:
    """Both sides, read and checked to be comparable. Raises DataError with every difference."""
    protocols = counts.protocol(base), counts.protocol(candidate)
    where = f"{base.label} and {candidate.label}"
    classes = counts.classes(base), counts.classes(candidate)
    require_equal(where, *protocols, REMEDY, _class_difference(*classes))
    sides = counts.read(base), counts.read(candidate)
    if difference := _class_difference(*(one.classes for one in sides)):
        raise DataError(where, difference, REMEDY)
    _require_same_images(where, *sides)
    first, second = (_ordered(one) for one in sides)
    _require_same_truth(where, first, second)
    return Pair(first, second, protocols[0])


def require_equal(where: str, first: dict[str, str], second: dict[str, str], remedy: str, classes: str = "") -> None:
    """Raises DataError for each entry in which two protocols differ, all at once.

    `classes` says how the class lists differ, if they do. They are part of what the entry `data` is a fingerprint of.
    """
    problems = []
    for key in sorted(first.keys() | second.keys()):
        values = [repr(protocol[key]) if key in protocol else "missing" for protocol in (first, second)]
        if values[0] != values[1]:
            meaning = formatting.PROTOCOL.get(key, "unknown to this version")
            meaning += f"; {classes}" if key == "data" and classes else ""
            problems.append(DataError(f"{where}: protocol.{key}", f"{values[0]} and {values[1]} ({meaning})", remedy))
    if problems:
        raise combined(f"{where}: evaluated in different ways", problems)


def _class_difference(base: tuple[str, ...] | None, candidate: tuple[str, ...] | None) -> str:
    """How two class lists differ; empty if they are equal or one is unknown."""
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
        raise DataError(where, f"different images: {'; '.join(parts)}", REMEDY)


def _require_same_truth(where: str, base: Side, candidate: Side) -> None:
    """Raises DataError if the true pixels or objects differ: equal masks have equal numbers of each class."""
    _require_equal_rows(where, base, "pixels", confusion.truth(base.counts), confusion.truth(candidate.counts))
    if base.objects and candidate.objects:
        if base.objects.data != candidate.objects.data:
            problem = (
                f"objects.data: {base.objects.data!r} and {candidate.objects.data!r} (fingerprint of true objects)"
            )
            raise DataError(where, problem, REMEDY)
        _require_equal_rows(where, base, "objects", base.objects.truths, candidate.objects.truths)


def _require_equal_rows(where: str, base: Side, what: str, first: Numbers, second: Numbers) -> None:
    differ = (first != second).any(axis=1)
    if differ.any():
        stems = {stem for stem, other in zip(base.stems, differ, strict=True) if other}
        raise DataError(where, f"different numbers of true {what} in {_named(stems)}", REMEDY)


def _named(stems: set[str]) -> str:
    shown = ", ".join(sorted(stems)[:NAMED])
    more = f" and {len(stems) - NAMED} more" if len(stems) > NAMED else ""
    return f"{len(stems)} image{'s' * (len(stems) != 1)}: {shown}{more}"


def _ordered(one: Side) -> Side:
    order = sorted(range(len(one.stems)), key=one.stems.__getitem__)
    stems, groups = tuple(one.stems[row] for row in order), tuple(one.groups[row] for row in order)
    objects = one.objects.of(order) if one.objects else None
    gaps = None if one.gaps is None else one.gaps[order]
    return replace(one, stems=stems, groups=groups, counts=one.counts[order], objects=objects, gaps=gaps)
