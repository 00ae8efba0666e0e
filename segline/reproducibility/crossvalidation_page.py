"""The scores of a cross-validation -> one HTML page. Not in `reporting`, whose files the plot stage depends on."""

from collections.abc import Mapping
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from segline.reporting import formatting

TEMPLATE = "crossvalidation.html"
NAMES = {"accuracy": "Pixel accuracy", "miou": "mIoU", "ece": "ECE"}
SOURCES = {"seed": "the seed of the training", "fold": "the images trained on", "image": "the images tested on"}


def render(content: Mapping[str, Any], dataset: str) -> str:
    """The page of metrics/crossvalidation.json: it requests nothing, and every name in it is escaped."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("segline", folder) for folder in ("reproducibility", "reporting")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = formatting.percent
    shown = {name: title for name, title in NAMES.items() if name in content["mean"]}
    return environment.get_template(TEMPLATE).render(content=content, dataset=dataset, names=shown, sources=SOURCES)
