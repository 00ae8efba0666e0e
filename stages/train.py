"""Train a network on the train split, choose its epoch on the val split."""

import hashlib
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from segline import (
    arrays,
    atomic,
    augmentation,
    balance,
    batches,
    checkpoint,
    choice,
    cli,
    device,
    draws,
    encode,
    history,
    params,
    pretrained,
    randomness,
    resume,
    tracking,
    training,
)
from segline.augmentation import Augmented
from segline.batches import AnySamples
from segline.errors import DataError
from segline.state import State

AUGMENTED = 12  # samples to show


def parse(argv: Sequence[str] | None) -> Namespace:
    """The paths that dvc.yaml gives."""
    return cli.paths(
        __doc__,
        argv,
        train="processed split to train on",
        val="processed split to choose the epoch on",
        model="model file to write",
        history="CSV of losses and scores by epoch to write",
        metrics="JSON of the epoch that was kept to write",
        augmented="folder of samples as the first epoch showed them to write",
    )


def describe(
    document: params.Document, training_section: training.Section, split: arrays.Split
) -> checkpoint.Description:
    """The model that params.yaml asks for, for these data."""
    name = params.text(document, "model.name")
    section = params.section(document, f"model.{name}", choice.choose("segline.networks", name, "model.name").Section)
    _, height, width, channels = split.images.shape
    weighted = "weighted_cross_entropy" in training_section.loss
    return checkpoint.Description(
        network=name,
        parameters=pretrained.described(section),
        head=params.text(document, "model.head"),
        channels=channels,
        height=height,
        width=width,
        mean=batches.MEAN,
        std=batches.STD,
        classes=split.index.classes,
        class_weights=balance.median_frequency(split.onehot, len(split.index.classes)) if weighted else (),
    )


def load(folder: Path, split: arrays.Split, target: torch.device) -> AnySamples:
    """The split on the device, or streamed to it. Raises DataError if every pixel is void."""
    if not split.onehot.any():
        raise DataError(folder, "every pixel is void, so there is nothing to learn or to score", "Check the masks.")
    return batches.place(split.images, split.onehot, len(split.index.classes), target)


def write_outputs(args: Namespace, section: training.Section, state: State, model: checkpoint.Description) -> None:
    """Writes the weights of the epoch that is kept, its losses and scores, and those of every epoch."""
    best = section.keep == "best"
    kept = state.best_epoch if best else state.history[-1]
    checkpoint.write(args.model, state.best if best else state.kept.state_dict(), model)
    history.write(args.history, state.history)
    history.write_kept(args.metrics, kept)
    cli.say(f"kept epoch {kept.epoch}: val accuracy {kept.val_accuracy:.4f}, val mIoU {kept.val_miou:.4f}")


def write_augmented(folder: Path, augmented: Augmented, seed: int) -> None:
    """Writes the first samples of the split as epoch 1 shows them: images, and classes with `encode.VOID`."""
    images, packed = augmentation.first_epoch(augmented, AUGMENTED, seed)
    with atomic.folder(folder) as temporary:
        np.save(temporary / "images.npy", images.cpu().numpy())
        np.save(temporary / "classes.npy", encode.unpack(packed.cpu().numpy(), augmented.samples.num_classes))


def identity(args: Namespace, section: training.Section, augment: draws.Section, model: checkpoint.Description) -> str:
    """Equal for trainings that end with the same bytes."""
    values = {"train": section.model_dump(), "augment": augment.model_dump(), "model": asdict(model)}
    return resume.key(values, [Path(__file__), args.train, args.val])


def train(
    section: training.Section,
    state: State,
    train_split: Augmented,
    val_split: AnySamples,
    run: tracking.Run,
    *,
    saver: resume.Saver,
) -> None:
    """Trains `state` to its end, with a line and a row of metrics an epoch."""
    per_epoch = training.num_steps(section, len(train_split))
    for epoch in state.history:
        run.metrics(history.metrics(epoch), step=epoch.epoch)
    with cli.Steps(section.epochs * per_epoch, "train", done=len(state.history) * per_epoch) as bar:
        began = stepped = time.perf_counter()

        def step_done() -> None:
            nonlocal stepped
            bar.update()
            stepped = time.perf_counter()

        for epoch in training.fit(state, section, train_split, val_split, step_done):
            rate = len(train_split) / (stepped - began)  # of training: the rest of the epoch is its validation
            bar.line(history.line(epoch, section.epochs, rate))
            gpu = device.peak_memory(val_split.device)
            run.metrics(history.metrics(epoch) | {"images_per_second": rate} | gpu, step=epoch.epoch)
            if epoch.epoch < section.epochs:
                saver.epoch_done(state)
            began = time.perf_counter()
        if (last := len(state.history)) < section.epochs:
            bar.line(f"stopped after epoch {last}: no better mIoU on val since epoch {state.best_epoch.epoch}")


def main(argv: Sequence[str] | None = None) -> None:
    """Trains on one split, validates on the other, and writes the model."""
    args = parse(argv)
    document = params.load()
    section = params.section(document, "train", training.Section)
    augment = params.section(document, "augment", draws.Section)
    target = device.pick()
    device.require_precision(target, section.precision)
    if section.compile:
        device.require_compiler(target)
    device.keep_memory()
    splits = {folder: arrays.read(folder) for folder in (args.train, args.val)}
    model = describe(document, section, splits[args.train])
    saver = resume.Saver(identity(args, section, augment, model))
    with tracking.run("train", {"train": args.train, "val": args.val}, document) as run:
        run.tags(device.description(target))
        randomness.deterministic(section.seed)
        train_split, val_split = (load(folder, split, target) for folder, split in splits.items())
        shown = Augmented(train_split, augment)
        network = checkpoint.network(model)
        pretrained.load(network, document)
        state = training.start(network.to(target), section, len(train_split), model.class_weights)
        saver.take_up(state, section.epochs)
        with device.within_memory("lower train.batch_size or the width of the network"):
            train(section, state, shown, val_split, run, saver=saver)
        write_outputs(args, section, state, model)
        write_augmented(args.augmented, shown, section.seed)
        resume.remove()
        run.tags({"model.sha256": hashlib.sha256(args.model.read_bytes()).hexdigest()})
        run.artifacts([args.history, args.metrics])


if __name__ == "__main__":
    cli.run(main)
