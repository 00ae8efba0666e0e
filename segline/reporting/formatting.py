"""How scores and parameters are called and written for people: the same in pictures, report and model card."""

from typing import Any

SCORES = {
    "accuracy": "Pixel accuracy",
    "miou": "mIoU",
    "mean_class_accuracy": "Mean class accuracy",
    "mean_dice": "Mean Dice",
}
COSTS = {"parameters": "parameters", "multiply_adds": "multiply-adds an image", "model_bytes": "bytes of model file"}
PROTOCOL = {
    "data": "fingerprint of the images, masks and classes",
    "images": "images scored",
    "resolution": "size at which pixels are compared",
    "schema": "version of this list",
    "split": "split scored",
    "void": "void (unlabelled) pixels",
}


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
