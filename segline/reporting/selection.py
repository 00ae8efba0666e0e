"""Which images of a split to show: the best, the median and the worst."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import Field

from segline.core import params
from segline.reporting.results import ImageScore


class Section(params.Section):
    """`images`: how many to show of each kind, best, median and worst."""

    images: int = Field(ge=1, le=20)


@dataclass(frozen=True)
class Pick:
    """An image chosen by its score: `kind` is best, median or worst, `rank` starts at 1, its number `image` at 0."""

    kind: str
    rank: int
    image: int


def order(images: Sequence[ImageScore]) -> list[int]:
    """Numbers of images from best to worst: by mIoU, then accuracy, then number; those without a score last."""

    def badness(number: int) -> tuple[bool, float, float]:
        score = images[number]
        return score.miou is None, -(score.miou or 0), -(score.accuracy or 0)

    return sorted(range(len(images)), key=badness)


def picks(images: Sequence[ImageScore], count: int) -> list[Pick]:
    """`count` images each of the best, the median and the worst, from best to worst; fewer where kinds would overlap.

    Images without a score are picked only if no image has one.
    """
    ranked = order(images)
    scored = sum(score.miou is not None for score in images) or len(images)
    share = max(1, min(count, scored // 3))
    middle = (scored - share) // 2
    kinds = dict.fromkeys(range(middle, middle + share), "median") if scored > 2 * share else {}
    kinds |= dict.fromkeys(range(scored - share, scored), "worst") | dict.fromkeys(range(share), "best")
    return [Pick(kinds[rank], rank + 1, ranked[rank]) for rank in sorted(kinds)]


def one_a_kind(picks: Iterable[Pick]) -> list[Pick]:
    """The very best pick, the middle one of the median and the very worst, omitting kinds without a pick."""
    kinds: dict[str, list[Pick]] = {}
    for pick in picks:
        kinds.setdefault(pick.kind, []).append(pick)
    places = {"best": 0, "median": 0.5, "worst": 1}
    return [members[int(places[kind] * (len(members) - 1))] for kind, members in kinds.items()]
