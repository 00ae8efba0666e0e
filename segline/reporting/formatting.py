"""How scores and parameters are named and written for people: alike in pictures, report and model card."""

from typing import Any

from segline.core import params
from segline.dataset.preparation import Preparation

SCORES = {
    "accuracy": "Pixel accuracy",
    "miou": "mIoU",
    "mean_class_accuracy": "Mean class accuracy",
    "mean_dice": "Mean Dice",
}
OBJECT_SCORES = {
    "ap": "AP, IoU from 0.50 to 0.95",
    "ap50": "AP50",
    "ap75": "AP75",
    "pq": "Panoptic quality",
    "sq": "Segmentation quality",
    "rq": "Recognition quality",
}
COSTS = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds per image",
    "model_bytes": "bytes of model file",
}
PROTOCOL = {
    "data": "fingerprint of the images, masks and classes",
    "images": "images scored",
    "resolution": "resolution at which pixels are compared",
    "schema": "protocol version",
    "split": "split scored",
    "void": "void (unlabelled) pixels",
}
SEAM = (
    "the share of the pixels in overlaps to which tiles, each by itself, give different classes; "
    "the higher, the more depends on where images are cut"
)

# The sections of params.yaml that results depend on, and of those with alternatives the key that picks one.
SECTIONS = ("data", "preprocess", "model", "train", "augment", "evaluate", "plot")
PICKED_BY = {"data": "source", "model": "name"}


def parameters_in_use(document: params.Document) -> params.Document:
    """The parameters behind the results: of alternatives only the one picked, since DVC tracks no other."""
    shown = {name: document[name] for name in SECTIONS if name in document}
    for name, key in PICKED_BY.items():
        picked = params.text(document, f"{name}.{key}")
        shown[name] = {k: v for k, v in shown[name].items() if k == picked or not isinstance(v, dict)}
    return shown


def costs(preparation: Preparation) -> dict[str, str]:
    """The names of the costs; those of a row are those of an image only if it was not cut into tiles."""
    return COSTS | ({"multiply_adds": "multiply-adds per tile"} if preparation.fit == "tile" else {})


def percent(value: float | None) -> str:
    """ "91.2 %" for 0.912; "undefined" for None. The space does not break."""
    return "undefined" if value is None else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def compact(value: float) -> str:
    """Three digits and a unit: "1.94 M" for 1,943,000. The space does not break."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}\N{NO-BREAK SPACE}{unit}"
    return f"{value:.3g}"


def written(value: Any) -> str:
    """A parameter as YAML writes it: "true" for True, "null" for None, "[a, b]" for a list."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    plain = {True: "true", False: "false", None: "null"}
    return plain[value] if value is None or isinstance(value, bool) else str(value)
