"""The `preprocess` section that suits a data set, as YAML with a reason for each choice."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from segline.commands.inspect_images import Picture
from segline.dataset.tiling import UNIT
from segline.preprocessing import intensity, levels

_LARGE, _VERY_LARGE = 10**6, 4 * 10**6  # pixels of the median image: from there on, tiles of 256 and of 512
_WHOLE = 512  # pixels of the longer side of a row that shows a whole image, at most
_ALIKE = 0.05  # aspect ratios that differ by less are stretched to one
_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))  # of floats, that people use
_FULL = 0.25  # share of a range that is used, from which on it is kept: 64 of 256 levels


def section(pictures: Sequence[Picture], objects: tuple[str, str] = ("null", "")) -> list[str]:
    """The lines of the section; `objects` is what it says of them, and why."""
    fit, height, width, why_fit = _fit(pictures)
    bands, why_bands = _bands(pictures)
    rule, why_rule = _intensity(pictures)
    transparent, turned = (sum(getattr(each, name) for each in pictures) for name in ("is_transparent", "is_turned"))
    why_turned = f"{turned} of {len(pictures)} images are turned upright by their Exif tags"
    why_alpha = f"{transparent} of {len(pictures)} images are transparent in places: choose drop, white or black"
    if any(each.is_transparent and each.alpha_may_be_infrared for each in pictures):
        why_alpha += "; or, if band 4 is near infrared, bands: [1, 2, 3, 4]"
    keys: list[tuple[str, object, str]] = [
        ("fit", fit, why_fit),
        ("height", height, ""),
        ("width", width, ""),
        ("scale", 1.0, "a smaller one makes tiles show more of the scene" if fit == "tile" else ""),
        ("overlap", 0.25, ""),
        ("bands", bands, why_bands),
        ("orientation", "check", why_turned if turned else ""),
        ("alpha", "refuse", why_alpha if transparent else ""),
        ("intensity", rule, why_rule),
        ("void", "ignore", ""),
        ("merge", "{}", ""),
        ("objects", *objects),
    ]
    return ["preprocess:", *(_line(*each) for each in keys)]


def is_tiled(pictures: Sequence[Picture]) -> bool:
    """Whether the section cuts images into tiles."""
    return _fit(pictures)[0] == "tile"


def _line(key: str, value: object, reason: str) -> str:
    line = f"  {key}: {value}"
    return f"{line:<43} # {reason}" if reason else line


def doubts(pictures: Sequence[Picture]) -> Iterator[str]:
    """Sentences on what no parameter can put right: images that differ in their bands or sample types."""
    kinds = Counter(_bands_of(picture) for picture in pictures)
    if len(kinds) > 1 and set(kinds) != {"gray", "RGB"}:
        yield f"images differ in their bands: {_listed(kinds)}. Save all in the same way, or leave some out"
    types = Counter(str(picture.dtype) for picture in pictures)
    if len(types) > 1:
        yield f"images differ in the type of their samples: {_listed(types)}. Percentiles need one type"


def _bands_of(picture: Picture) -> str:
    return f"{picture.bands} bands" if picture.colour == "bands" else picture.colour


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in counts.most_common())


def _fit(pictures: Sequence[Picture]) -> tuple[str, int, int, str]:
    """`fit`, height and width of a row, and why."""
    sizes = np.array([picture.size for picture in pictures])
    height, width = (int(side) for side in np.median(sizes, axis=0))
    is_one = len(np.unique(sizes, axis=0)) == 1
    shown = f"{'all images have' if is_one else 'the median image has'} {width}x{height} pixels"
    if (pixels := height * width) >= _LARGE:
        side = 512 if pixels >= _VERY_LARGE else 256
        return "tile", side, side, f"{shown}: cut, so that small objects stay visible"
    share = min(1.0, _WHOLE / max(height, width))
    if share < 1 or not is_one:
        height, width = (max(UNIT, UNIT * round(side * share / UNIT)) for side in (height, width))
    ratios = sizes[:, 1] / sizes[:, 0]
    if ratios.max() <= ratios.min() * (1 + _ALIKE):
        return "stretch", height, width, shown if is_one else f"{shown}; aspect ratios differ by less than 5 %"
    return "pad", height, width, f"{shown}; aspect ratios from {ratios.min():.2f} to {ratios.max():.2f} are kept"


def _bands(pictures: Sequence[Picture]) -> tuple[str, str]:
    colours = {picture.colour for picture in pictures}
    if colours == {"gray"}:
        return "gray", "all images are gray"
    if "bands" in colours:
        several = Counter((each.bands, each.alpha_place) for each in pictures if each.colour == "bands")
        (((number, alpha), _),) = several.most_common(1)
        said = "the files do not say what they show" if number <= 3 else "all; leave out what is of no use"
        numbers = [place + 1 + (alpha is not None and place >= alpha) for place in range(number)]
        return str(numbers), f"{number} bands: {said}"
    if all(picture.is_gray for picture in pictures):
        return "gray", "R, G and B are equal in all images"
    return "rgb", "gray images are repeated in R, G and B" if "gray" in colours else ""


def _intensity(pictures: Sequence[Picture]) -> tuple[str, str]:
    deep = [picture for picture in pictures if picture.low is not None and picture.high is not None]
    if not deep:
        return "{by: full}", ""
    low, high = min(each.low or 0.0 for each in deep), max(each.high or 0.0 for each in deep)
    span = f"samples lie in {low:g} to {high:g}"
    if any(each.dtype.kind == "f" for each in deep):
        for start, end in _RANGES:
            if start <= low and high <= end and high - low > (end - start) * _FULL:
                return f"{{by: window, low: {start}, high: {end}}}", span
        return intensity.USUAL, f"{span}, which is no usual range"
    poor = [each.kept for each in deep if each.kept and each.kept.is_poor]
    if poor:
        worst = min(poor, key=lambda kept: kept.left)
        lost = f"{{by: full}} would leave few gray levels of {len(poor)} in {len(pictures)} images"
        return intensity.USUAL, f"{span}: {lost}, such as {worst.left} of {worst.had}"
    return "{by: full}", f"{span}: {levels.FEW} gray levels or more are left of each image"
