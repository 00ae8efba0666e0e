"""How image files became rows, in words: alike on the page, the sheet and the model card."""

from collections.abc import Sequence

from segline.dataset import tiling
from segline.dataset.preparation import Intensity, Preparation

MANY = 8  # bands: of more, only the first are listed
FIT = {
    "stretch": "images are resized to that size, without keeping their aspect ratio",
    "pad": "images are resized to fit into that size, keeping their aspect ratio; the border does not count",
    "tile": "images are cut into tiles of that size",
}
ALPHA = {
    "drop": "the alpha channel is dropped",
    "white": "transparent pixels are laid over white",
    "black": "transparent pixels are laid over black",
}
ORIENTATION = {
    "upright": "images are turned upright as their Exif tag says",
    "stored": "images stay as they are stored, whatever their Exif tag says",
}


def facts(preparation: Preparation) -> dict[str, str]:
    """What was done to the files, by subject; what needs no word is left out."""
    tiled = preparation.fit == "tile"
    size = f"{preparation.width} x {preparation.height} pixels (width x height)"
    lines = {
        "input": f"{size}, {_colours(preparation)}",
        "fit": FIT[preparation.fit],
        "scale": _scale(preparation) if tiled else None,
        "overlap": _overlap(preparation) if tiled else None,
        "bands": _bands(preparation.bands) if isinstance(preparation.bands, tuple) else None,
        "intensity": _intensity(preparation.intensity) if preparation.intensity.by != "full" else None,
        "orientation": ORIENTATION.get(preparation.orientation),
        "transparency": ALPHA.get(preparation.alpha),
    }
    return {subject: said for subject, said in lines.items() if said is not None}


def shown(preparation: Preparation) -> str | None:
    """Which bands of the file `drawing.rgb` shows; None if they were not chosen by number."""
    if not isinstance(preparation.bands, tuple):
        return None
    if len(preparation.bands) < len("RGB"):
        return f"band {preparation.bands[0]} as gray"
    return f"bands {_listed(preparation.bands[:3])} as red, green, blue"


def _colours(preparation: Preparation) -> str:
    if isinstance(preparation.bands, tuple):
        return f"{preparation.channels} band{'s' * (preparation.channels > 1)}"
    return {"rgb": "RGB", "gray": "grey"}[preparation.bands]


def _scale(preparation: Preparation) -> str | None:
    step = tiling.own_pixels(preparation)
    return f"{float(100 / step):.4g} % of the images' own size" if step != 1 else None


def _overlap(preparation: Preparation) -> str | None:
    down, across = tiling.shared(preparation)
    if down == across:
        return f"{down} pixels or more" if down else None
    return f"{down} pixels down and {across} across, or more"


def _bands(bands: tuple[int, ...]) -> str:
    return f"{_listed(bands)} of the file" + (f" ({len(bands)} bands)" if len(bands) > MANY else "")


def _intensity(intensity: Intensity) -> str:
    pairs = [f"{low:.6g} to {high:.6g}" for low, high in zip(intensity.low, intensity.high, strict=True)]
    pairs = pairs[:1] if len(set(pairs)) == 1 else pairs
    origin = ", percentiles of the train split" if intensity.by == "percentile" else ""
    each = ", band by band" if len(pairs) > 1 else ""
    return f"samples from {_listed(pairs)} become 0 to 255{each}{origin}"


def _listed(items: Sequence[int | str]) -> str:
    return ", ".join(map(str, items[:MANY])) + (", ..." if len(items) > MANY else "")
