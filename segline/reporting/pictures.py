"""Every PNG file that the plot stage writes: which there are, and what each one shows."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from segline.dataset import processed
from segline.reporting import (
    charts,
    contact_sheets,
    drawing,
    object_results,
    preparation_facts,
    results,
    selection,
    whole_images,
)

CURVES = {"Loss by epoch": "loss.png", "Validation scores by epoch": "accuracy.png"}  # the charts that the page shows
RELIABILITY = "reliability.png"
Shown = Sequence[tuple[selection.Pick, whole_images.Views]]


def write(
    folder: Path,
    index: processed.Index,
    scores: results.Results,
    *,
    kept: int,
    shown: Shown,
    augmented: tuple[drawing.Uint8, drawing.Uint8],
) -> None:
    """Writes all pictures to `folder`. `kept` is the epoch kept, `augmented` what `results.read_augmented` returns."""
    learnt, index = index, object_results.scored(index)
    charts.loss(folder / CURVES["Loss by epoch"], scores.history, kept)
    charts.accuracy(folder / CURVES["Validation scores by epoch"], scores.history, kept)
    charts.confusion(folder / "confusion.png", [label.name for label in index.classes], scores.confusion)
    charts.iou(folder / "iou.png", index.classes, scores.classes, scores.evaluation.miou)
    charts.reliability(folder / RELIABILITY, scores.evaluation.calibration, scores.evaluation.ece)
    _sheets(folder, index, scores, shown)
    _augmented(folder, learnt, *augmented)


def _sheets(folder: Path, index: processed.Index, scores: results.Results, shown: Shown) -> None:
    """The sheet, and a preview of it with one image each for best, median and worst."""
    legend = [*contact_sheets.legend(index), ("wrong pixel", drawing.WRONG)]
    rows = {pick: _rows(contact_sheets.caption(pick, scores.images), views, index) for pick, views in shown}
    few = [rows[pick] for pick in selection.one_a_kind(rows)]
    contact_sheets.sheet(folder / "sheet.png", [*chain(*rows.values())], legend, _note(index))
    contact_sheets.sheet(folder / "preview.png", [*chain(*few)], legend, _note(index))


def _rows(caption: str, views: whole_images.Views, index: processed.Index) -> list[tuple[str, drawing.Panels]]:
    closer = [f"close-up of the outlined part: {views.closeup.place}"] if views.closeup else []
    return list(zip([caption, *closer], views.panels(drawing.palette(index.classes, index.void)), strict=True))


def _note(index: processed.Index) -> str | None:
    bands = preparation_facts.shown(index.preparation)
    return f"shown: {bands}" if bands else None


def _augmented(folder: Path, index: processed.Index, images: drawing.Uint8, classes: drawing.Uint8) -> None:
    colours = drawing.palette(index.classes, index.void)
    pairs = [drawing.pair(*sample, colours) for sample in zip(images, classes, strict=True)]
    contact_sheets.augmented(folder / "augmented.png", pairs, contact_sheets.legend(index, padded=True), _note(index))
