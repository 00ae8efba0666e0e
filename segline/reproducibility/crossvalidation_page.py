"""The scores of a cross-validation -> one HTML page. Not in `reporting`, whose files the plot stage depends on."""

from collections.abc import Mapping
from typing import Any

from segline.reporting import templates

TEMPLATE = "crossvalidation.html"
NAMES = {"accuracy": "Pixel accuracy", "miou": "mIoU", "ece": "ECE"}
SOURCES = {"seed": "seed", "fold": "train images", "image": "test images"}


def render(content: Mapping[str, Any], dataset: str) -> str:
    """The page of metrics/crossvalidation.json: it requests nothing, and every name in it is escaped."""
    shown = {name: title for name, title in NAMES.items() if name in content["mean"]}
    template = templates.environment("reproducibility").get_template(TEMPLATE)
    return template.render(content=content, dataset=dataset, names=shown, sources=SOURCES)
