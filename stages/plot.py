"""Draws what was trained and evaluated: charts, a sheet of images, and a report in one HTML file."""

from segline.monitoring import console  # first: it handles Ctrl-C while the rest is imported

# isort: split
import argparse
from collections.abc import Sequence

from segline.core import atomic, params
from segline.dataset import processed
from segline.monitoring import mlflow_run
from segline.reporting import formatting, model_card, object_results, pictures, report, results, selection

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
        model="model file, which the card describes, and which names the MLflow run to add to",
        plots="folder of PNG files to write",
        report="HTML file to write",
        card="Markdown file to write: the model card",
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Writes the PNG files, the report and the model card: all or none."""
    args = parse(argv)
    document = params.load()
    section = params.section(document, "plot", selection.Section)
    split = processed.read(args.processed)
    material = report.Material(
        split=split,
        predictions=results.read_predictions(args.predictions / f"{split.index.split}.npy", split),
        results=results.read(
            object_results.scored(split.index),
            history=args.history,
            evaluation=args.eval,
            per_class=args.per_class,
            per_image=args.per_image,
            confusion=args.confusion,
        ),
        parameters=formatting.parameters_in_use(document),
        objects=object_results.read(args.predictions, split),
    )
    picks = selection.picks(material.results.images, section.images)
    shown = [(pick, material.views(pick.image)) for pick in picks]
    kept = results.read_kept_epoch(args.train)
    subject = model_card.Subject(args.model, split, material.results, kept, material.parameters)
    augmented = results.read_augmented(args.augmented, split.index)
    inputs = {name: path for name, path in vars(args).items() if name not in WRITTEN}
    with mlflow_run.run("plot", inputs, {"plot": document["plot"]}, model=args.model) as run:
        with atomic.folder(args.plots) as plots:
            pictures.write(plots, split.index, material.results, kept=kept, shown=shown, augmented=augmented)
            curves = {title: (plots / name).read_bytes() for title, name in pictures.CURVES.items()}
            reliability = (plots / pictures.RELIABILITY).read_bytes()
            with atomic.file(args.report) as page, atomic.file(args.card) as text:
                page.write_text(report.render(material, shown, curves, reliability), encoding="utf-8")
                text.write_text(model_card.render(subject), encoding="utf-8")
        run.artifacts([args.report, args.card, *sorted(args.plots.iterdir())])
    count = len(list(args.plots.iterdir()))
    console.say(f"plot: {count} pictures -> {args.plots}, report -> {args.report}, model card -> {args.card}")


if __name__ == "__main__":
    console.run(main)
