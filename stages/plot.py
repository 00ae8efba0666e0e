"""Draws what was trained and evaluated: charts, a sheet of images, and a report in one HTML file."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from segline import arrays, atomic, card, charts, cli, drawing, params, ranking, report, results, sheets, tracking

CURVES = {"Loss by epoch": "loss.png", "Validation scores by epoch": "accuracy.png"}
SECTIONS = ("data", "preprocess", "model", "train", "augment", "evaluate", "plot")
PICKED = {"data": "source", "model": "name"}
WRITTEN = {"plots", "report", "card"}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The paths that dvc.yaml gives."""
    return cli.paths(
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
    section = params.section(document, "plot", ranking.Section)
    split = arrays.read(args.processed)
    found = _read(args, split.index)
    picks = ranking.picks(found.images, section.images)
    material = report.Material(
        split=split,
        predictions=results.read_predictions(args.predictions / f"{split.index.split}.npy", split),
        results=found,
        parameters=_in_use(document),
    )
    panels = [material.panels(pick.row) for pick in picks]
    kept = results.read_kept_epoch(args.train)
    subject = card.Subject(args.model, split, found, kept, material.parameters)
    augmented = results.read_augmented(args.augmented, len(split.index.classes))
    inputs = {name: path for name, path in vars(args).items() if name not in WRITTEN}
    with tracking.run("plot", inputs, {"plot": document["plot"]}, model=args.model) as run:
        with atomic.folder(args.plots) as plots:
            _draw(plots, split.index, found, kept)
            _sheets(plots, split.index, found, list(zip(picks, panels, strict=True)))
            _augmented(plots, split.index, *augmented)
            curves = {title: (plots / name).read_bytes() for title, name in CURVES.items()}
            with atomic.file(args.report) as page, atomic.file(args.card) as text:
                page.write_text(report.render(material, picks, panels, curves), encoding="utf-8")
                text.write_text(card.render(subject), encoding="utf-8")
        run.artifacts([args.report, args.card, *sorted(args.plots.iterdir())])
    count = len(list(args.plots.iterdir()))
    cli.say(f"plot: {count} pictures -> {args.plots}, report -> {args.report}, model card -> {args.card}")


def _in_use(document: params.Document) -> params.Document:
    """The parameters behind the results: of the alternatives only the one picked, for that is what DVC tracks."""
    shown = {name: document[name] for name in SECTIONS if name in document}
    for name, key in PICKED.items():
        picked = params.text(document, f"{name}.{key}")
        shown[name] = {k: v for k, v in shown[name].items() if k == picked or not isinstance(v, dict)}
    return shown


def _read(args: argparse.Namespace, index: arrays.Index) -> results.Results:
    return results.Results(
        history=results.read_history(args.history),
        evaluation=results.read_evaluation(args.eval),
        classes=results.read_classes(args.per_class, index),
        images=results.read_images(args.per_image, index),
        confusion=results.read_confusion(args.confusion, index),
    )


def _draw(plots: Path, index: arrays.Index, found: results.Results, kept: int) -> None:
    charts.loss(plots / "loss.png", found.history, kept)
    charts.accuracy(plots / "accuracy.png", found.history, kept)
    charts.confusion(plots / "confusion.png", [label.name for label in index.classes], found.confusion)
    charts.iou(plots / "iou.png", index.classes, found.classes, found.evaluation.miou)


def _sheets(
    plots: Path, index: arrays.Index, found: results.Results, chosen: Sequence[tuple[ranking.Pick, drawing.Panels]]
) -> None:
    """The sheet, and a preview of it with one row a kind."""
    legend = [*sheets.legend(index), ("wrong pixel", drawing.WRONG)]
    rows = {pick: (sheets.caption(pick, found.images), panels) for pick, panels in chosen}
    sheets.sheet(plots / "sheet.png", list(rows.values()), legend)
    sheets.sheet(plots / "preview.png", [rows[pick] for pick in ranking.one_a_kind(rows)], legend)


def _augmented(plots: Path, index: arrays.Index, images: drawing.Uint8, classes: drawing.Uint8) -> None:
    colours = drawing.palette(index.classes, index.void)
    pairs = [drawing.pair(*sample, colours) for sample in zip(images, classes, strict=True)]
    sheets.augmented(plots / "augmented.png", pairs, sheets.legend(index))


if __name__ == "__main__":
    cli.run(main)
