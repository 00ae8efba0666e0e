"""Draws what was trained and evaluated: charts, a sheet of images, and a report in one HTML file."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from segline.core import atomic, params
from segline.dataset import processed
from segline.monitoring import console, mlflow_run
from segline.reporting import charts, contact_sheets, drawing, model_card, report, results, selection

CURVES = {"Loss by epoch": "loss.png", "Validation scores by epoch": "accuracy.png"}
SECTIONS = ("data", "preprocess", "model", "train", "augment", "evaluate", "plot")
PICKED = {"data": "source", "model": "name"}
WRITTEN = {"plots", "report", "card"}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The paths that dvc.yaml gives."""
    return console.paths(
        __doc__,
        argv,
        history="CSV of losses and scores by epoch",
        train="JSON of the epoch that was kept",
        eval="JSON of scores",
        per_class="CSV of scores by class",
        per_image="CSV of scores by image",
        confusion="JSON of the confusion matrix",
        processed="processed split that was evaluated",
        predictions="folder of predicted classes",
        augmented="folder of samples as the first epoch showed them",
        model="model file, which the card is about, and which names the MLflow run to add to",
        plots="folder of PNG files to write",
        report="HTML file to write",
        card="Markdown file to write: the model card",
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the PNG files, the report and the model card, all or none."""
    args = parse(argv)
    document = params.load()
    section = params.section(document, "plot", selection.Section)
    split = processed.read(args.processed)
    found = _read(args, split.index)
    picks = selection.picks(found.images, section.images)
    material = report.Material(
        split=split,
        predictions=results.read_predictions(args.predictions / f"{split.index.split}.npy", split),
        results=found,
        parameters=_in_use(document),
    )
    panels = [material.panels(pick.row) for pick in picks]
    kept = results.read_kept_epoch(args.train)
    subject = model_card.Subject(args.model, split, found, kept, material.parameters)
    augmented = results.read_augmented(args.augmented, len(split.index.classes))
    inputs = {name: path for name, path in vars(args).items() if name not in WRITTEN}
    with mlflow_run.run("plot", inputs, {"plot": document["plot"]}, model=args.model) as run:
        with atomic.folder(args.plots) as plots:
            _draw(plots, split.index, found, kept)
            _sheets(plots, split.index, found, list(zip(picks, panels, strict=True)))
            _augmented(plots, split.index, *augmented)
            curves = {title: (plots / name).read_bytes() for title, name in CURVES.items()}
            with atomic.file(args.report) as page, atomic.file(args.card) as text:
                page.write_text(report.render(material, picks, panels, curves), encoding="utf-8")
                text.write_text(model_card.render(subject), encoding="utf-8")
        run.artifacts([args.report, args.card, *sorted(args.plots.iterdir())])
    count = len(list(args.plots.iterdir()))
    console.say(f"plot: {count} pictures -> {args.plots}, report -> {args.report}, model card -> {args.card}")


def _in_use(document: params.Document) -> params.Document:
    """The parameters behind the results: of the alternatives only the one picked, for that is what DVC tracks."""
    shown = {name: document[name] for name in SECTIONS if name in document}
    for name, key in PICKED.items():
        picked = params.text(document, f"{name}.{key}")
        shown[name] = {k: v for k, v in shown[name].items() if k == picked or not isinstance(v, dict)}
    return shown


def _read(args: argparse.Namespace, index: processed.Index) -> results.Results:
    return results.Results(
        history=results.read_history(args.history),
        evaluation=results.read_evaluation(args.eval),
        classes=results.read_classes(args.per_class, index),
        images=results.read_images(args.per_image, index),
        confusion=results.read_confusion(args.confusion, index),
    )


def _draw(plots: Path, index: processed.Index, found: results.Results, kept: int) -> None:
    charts.loss(plots / "loss.png", found.history, kept)
    charts.accuracy(plots / "accuracy.png", found.history, kept)
    charts.confusion(plots / "confusion.png", [label.name for label in index.classes], found.confusion)
    charts.iou(plots / "iou.png", index.classes, found.classes, found.evaluation.miou)


def _sheets(
    plots: Path, index: processed.Index, found: results.Results, chosen: Sequence[tuple[selection.Pick, drawing.Panels]]
) -> None:
    """The sheet, and a preview of it with one row a kind."""
    legend = [*contact_sheets.legend(index), ("wrong pixel", drawing.WRONG)]
    rows = {pick: (contact_sheets.caption(pick, found.images), panels) for pick, panels in chosen}
    contact_sheets.sheet(plots / "sheet.png", list(rows.values()), legend)
    contact_sheets.sheet(plots / "preview.png", [rows[pick] for pick in selection.one_a_kind(rows)], legend)


def _augmented(plots: Path, index: processed.Index, images: drawing.Uint8, classes: drawing.Uint8) -> None:
    colours = drawing.palette(index.classes, index.void)
    pairs = [drawing.pair(*sample, colours) for sample in zip(images, classes, strict=True)]
    contact_sheets.augmented(plots / "augmented.png", pairs, contact_sheets.legend(index))


if __name__ == "__main__":
    console.run(main)
