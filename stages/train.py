"""Train a network on the train split, choose its epoch on the val split."""

import hashlib
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch

from segline import arrays, batches, checkpoint, choice, cli, device, params, randomness, records, tracking, training
from segline.errors import DataError

HISTORY = ("epoch", "learning_rate", "train_loss", "val_loss", "val_accuracy", "val_miou")


def parse(argv: Sequence[str] | None) -> Namespace:
    return cli.paths(
        __doc__,
        argv,
        train="processed split to train on",
        val="processed split to choose the epoch on",
        model="model file to write",
        history="CSV of losses and scores by epoch to write",
        metrics="JSON of the epoch that was kept to write",
    )


def describe(document: params.Document, split: arrays.Split) -> checkpoint.Description:
    name = params.text(document, "model.name")
    section = params.section(document, f"model.{name}", choice.choose("segline.networks", name, "model.name").Section)
    _, height, width, channels = split.images.shape
    return checkpoint.Description(
        network=name,
        parameters=section.model_dump(),
        channels=channels,
        height=height,
        width=width,
        mean=batches.MEAN,
        std=batches.STD,
        classes=split.index.classes,
    )


def require_labels(folder: Path, split: arrays.Split) -> None:
    if not split.onehot.any():
        raise DataError(folder, "every pixel is void, so there is nothing to learn or to score", "Check the masks.")


def write_outputs(args: Namespace, section: training.Section, state: training.State, model: checkpoint.Description) -> None:
    kept = state.best_epoch if section.keep == "best" else state.history[-1]
    weights = state.best if section.keep == "best" else state.network.state_dict()
    checkpoint.write(args.model, weights, model)
    rows = [
        (e.number, e.learning_rate, e.train_loss, e.val_loss, e.val_accuracy, e.val_miou) for e in state.history
    ]
    records.write_csv(args.history, HISTORY, rows)
    content = {
        "epoch": kept.number,
        "train_loss": kept.train_loss,
        "val_loss": kept.val_loss,
        "val_accuracy": kept.val_accuracy,
        "val_miou": kept.val_miou,
    }
    records.write_json(args.metrics, content)
    cli.say(f"kept epoch {kept.number}: val accuracy {kept.val_accuracy:.4f}, val mIoU {kept.val_miou:.4f}")


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    document = params.load()
    section = params.section(document, "train", training.Section)
    target = device.pick()
    device.require_precision(target, section.precision)
    splits = {"train": arrays.read(args.train), "val": arrays.read(args.val)}
    for name, folder in (("train", args.train), ("val", args.val)):
        require_labels(folder, splits[name])
    model = describe(document, splits["train"])
    samples = {
        name: batches.load(split.images, split.onehot, len(split.index.classes), target) for name, split in splits.items()
    }

    randomness.deterministic(section.seed)
    state = training.start(checkpoint.network(model).to(target), section, len(samples["train"]))
    with tracking.run("train", inputs={"train": args.train, "val": args.val}, params=document) as run:
        run.tags(device.description(target))
        with cli.Steps(section.epochs * training.num_steps(section, len(samples["train"])), "train") as bar:
            began = time.perf_counter()
            for epoch in training.fit(state, section, samples["train"], samples["val"], bar.update):
                seconds = time.perf_counter() - began
                rate = len(samples["train"]) / seconds
                bar.line(
                    f"epoch {epoch.number}/{section.epochs}  train loss {epoch.train_loss:.4f}  val loss {epoch.val_loss:.4f}"
                    f"  accuracy {epoch.val_accuracy:.4f}  mIoU {epoch.val_miou:.4f}  {rate:.0f} images/s"
                )
                run.metrics(
                    {
                        "learning_rate": epoch.learning_rate,
                        "train_loss": epoch.train_loss,
                        "val_loss": epoch.val_loss,
                        "val_accuracy": epoch.val_accuracy,
                        "val_miou": epoch.val_miou,
                        "images_per_second": rate,
                    }
                    | device.peak_memory(target),
                    step=epoch.number,
                )
                began = time.perf_counter()
        write_outputs(args, section, state, model)
        run.tags({"model.sha256": hashlib.sha256(args.model.read_bytes()).hexdigest()})
        run.artifacts([params.FILE, args.history, args.metrics])


if __name__ == "__main__":
    cli.run(main)
