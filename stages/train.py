"""Train a network on the train split, choose its epoch on the val split."""

from segline.monitoring import console  # first: it handles Ctrl-C while the rest is imported

# isort: split
import hashlib
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from segline.core import atomic, params, pipeline
from segline.core.errors import DataError
from segline.dataset import history, npy, objects, onehot, processed
from segline.model import batches, checkpoint, device, randomness
from segline.model.batches import AnySamples
from segline.monitoring import mlflow_run, progress
from segline.scheduling import cluster
from segline.training import (
    cluster_workers,
    group,
    loop,
    model_from_params,
    pretrained,
    resume,
    sampling,
    start_from,
    temperature,
    workers,
)
from segline.training.augmentation import plan, samples
from segline.training.augmentation.samples import Augmented
from segline.training.state import State

AUGMENTED = 12  # samples that are written as epoch 1 shows them


def parse(argv: Sequence[str] | None) -> Namespace:
    """The paths that dvc.yaml gives."""
    return console.paths(
        __doc__,
        argv,
        train="processed split to train on",
        val="processed split to choose the epoch on",
        model="model file to write",
        history="CSV of losses and scores by epoch to write",
        metrics="JSON of the epoch that was kept to write",
        augmented="folder of samples, as the first epoch showed them, to write",
    )


def load(folder: Path, split: processed.Split, target: torch.device) -> AnySamples:
    """The split on the device, or streamed to it. Raises DataError if every pixel is void."""
    if not any(row.any() for row in split.onehot):
        raise DataError(folder, "every pixel is void, so there is nothing to learn or to score", "Check the masks.")
    num_classes, owned = len(split.index.classes), split.index.owned
    return batches.place(split.images, split.onehot, num_classes, target, owned)


def announce(index: processed.Index, section: loop.Section, rare: sampling.RareClasses | None) -> None:
    """Says what a sample is, if that is not an image, and for which classes samples are drawn."""
    images, tiles, size = len(index.origins), index.num_rows, index.preparation
    if size.fit == "tile":
        counted = f"{images} image{'s' * (images != 1)} as {tiles} tile{'s' * (tiles != 1)}"
        console.say(f"train: {counted} of {size.width}x{size.height}")
    if rare:
        names = ", ".join(index.classes[number].name for number in rare.classes)
        console.say(f"train: {100 * rare.share:g} % of the samples are drawn for rare classes: {names}")
    elif section.sampling != "uniform":
        console.say("train: no class is rare, so sampling is uniform")


def write_outputs(args: Namespace, section: loop.Section, state: State, model: checkpoint.Description) -> None:
    """Writes the weights of the epoch that is kept, its losses and scores, and those of every epoch."""
    if (last := len(state.history)) < section.epochs:
        console.say(f"stopped after epoch {last}: no better mIoU on val since epoch {state.best_epoch.epoch}")
    best = section.keep == "best"
    kept = state.best_epoch if best else state.history[-1]
    checkpoint.write(args.model, state.best if best else state.kept.state_dict(), model)
    history.write(args.history, state.history)
    history.write_kept(args.metrics, kept, {"precision": state.precision})
    scores = f"val accuracy {kept.val_accuracy:.4f}, val mIoU {kept.val_miou:.4f}"
    console.say(f"kept epoch {kept.epoch}: {scores}, temperature {model.temperature:g}")


def tempered(
    model: checkpoint.Description, section: loop.Section, state: State, val: AnySamples
) -> checkpoint.Description:
    """The description with the temperature that fits val; `state.kept` has the weights to keep."""
    counted_as = objects.parents(model.classes, model.objects).tolist()
    fitted = temperature.of_network(state.kept, val, section.batch_size, counted_as, section.seed)
    return replace(model, temperature=fitted)


def write_augmented(folder: Path, augmented: Augmented, seed: int) -> None:
    """Writes the first samples of the split as epoch 1 shows them: images, and classes with `onehot.VOID`."""
    images, packed = samples.first_epoch(augmented, AUGMENTED, seed)
    with atomic.folder(folder) as temporary:
        npy.save(temporary / "images.npy", images.cpu().numpy())
        classes = onehot.unpack(packed.cpu().numpy(), augmented.samples.num_classes)
        npy.save(temporary / "classes.npy", classes)


def prepared(section: loop.Section, place: group.Place | None) -> torch.device:
    """The device, with what this training needs set. Raises DeviceError or ParameterError if it lacks something."""
    if section.shards > 1:
        workers.limit_threads()
    target = device.pick()
    if place:
        workers.require_work(place.size, section.shards, "WORLD_SIZE")
        if target.type == "cuda":
            place.take_gpu()
    device.require_precision(target, section.precision)
    if section.compile:
        device.require_compiler(target)
    device.keep_memory()
    return target


def main(argv: Sequence[str] | None = None) -> int:
    """Trains on one split, validates on the other, and writes the model: here, or in workers that it starts."""
    args = parse(argv)
    if place := group.Place.given():
        return workers.work(partial(train, args, place), place.rank)
    command = ["-m", "stages.train", *(sys.argv[1:] if argv is None else argv)]
    shards = params.section(params.load(), "train", loop.Section).shards
    if cluster.is_named():
        return cluster_workers.run(command, shards)
    if line := workers.fewer(shards):
        console.say(f"train: {line}")
    if (count := workers.wanted(shards)) > 1:
        return workers.run(command, count)
    train(args)
    return 0


def train(args: Namespace, place: group.Place | None = None) -> None:
    """Trains alone, or as the worker at `place`, of which the first one writes the results. Raises `group.Lost` if
    another worker has died.
    """
    document = params.load()
    section = params.section(document, "train", loop.Section)
    augment = params.section(document, "augment", plan.Section)
    target = prepared(section, place)
    splits = {folder: processed.read(folder) for folder in (args.train, args.val)}
    plan.require_colours(augment, splits[args.train].index.preparation.bands)
    model = model_from_params.from_params(document, section, splits[args.train])
    if section.shards > 1:
        with torch.device("meta"):
            loop.require_shards(checkpoint.network(model), section, model.preparation)
    earlier = start_from.read(section.start_from, document)
    precision = device.precision(target, section.precision)
    train_values = section.model_dump() | {"precision": precision}
    values = {"train": train_values, "augment": augment.model_dump(), "model": asdict(model)}
    digests = [folder / processed.INDEX for folder in splits]  # of the arrays too; `read` has compared them
    saver = resume.Saver(resume.key(values, [*pipeline.code("train", document), *digests]))
    with mlflow_run.run("train", {"train": args.train, "val": args.val}, document) as run:
        run.tags(device.description(target) | {"precision": precision})
        randomness.deterministic(section.seed)
        train_split, val_split = (load(folder, split, target) for folder, split in splits.items())
        rare = sampling.rare_classes(section.sampling, splits[args.train])
        announce(splits[args.train].index, section, rare)
        shown = Augmented(train_split, augment, rare)
        network = checkpoint.network(model)
        pretrained.load(network, document)
        if earlier:
            for line in start_from.load(network, earlier, model):
                console.say(f"train: {line}")
        state = loop.start(network.to(target), section, len(train_split), model.class_weights)
        saver.resume(state, section.epochs)
        with (
            device.within_memory("lower train.batch_size or the width of the network"),
            group.joined(place, target) as together,
            progress.Progress(
                run,
                epochs=section.epochs,
                steps=loop.num_steps(section, len(shown)),
                images=len(shown),
                past=state.history,
                gpu_memory=partial(device.peak_memory, target),
            ) as seen,
        ):
            if together.size > 1:
                together.require_same(saver.digest(state), target)
            for epoch in loop.fit(state, section, shown, val_split, seen.step_done, group=together):
                if together.leads and epoch.epoch < section.epochs:
                    saver.epoch_done(state)
                seen.epoch_done(epoch)
        if not together.leads:
            return
        only = loop.only_class(state, section, val_split)
        write_outputs(args, section, state, tempered(model, section, state, val_split))
        if only is not None:
            problem = f"every pixel is predicted as {model.classes[only].name}: the training has failed"
            console.warn(f"val: {problem}; lower train.learning_rate, train for more epochs, or check the masks")
        write_augmented(args.augmented, shown, section.seed)
        resume.remove()
        run.tags({"model.sha256": hashlib.sha256(args.model.read_bytes()).hexdigest()})
        run.artifacts([args.history, args.metrics])


if __name__ == "__main__":
    console.run(main)
