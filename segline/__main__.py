"""The `segline` command: everything that a user runs besides `dvc`."""

import argparse
import importlib
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from segline.monitoring import console

# Command -> the function that runs it, imported only for that command: torch alone takes over a second.
COMMANDS = {
    "check": "segline.commands.check:command",
    "preset": "segline.commands.presets:command",
    "inspect": "segline.commands.inspect_folder:command",
    "restore": "segline.reproducibility.restore:command",
    "machine": "segline.model.device:command",
    "predict": "segline.inference.predict:command",
    "gate": "segline.gate.command:command",
    "promote": "segline.gate.promotion:command",
    "replay": "segline.reproducibility.replay:command",
    "noise": "segline.reproducibility.seed_noise:command",
    "crossvalidate": "segline.reproducibility.crossvalidation:command",
    "labels": "segline.labels.command:command",
    "export": "segline.inference.export_onnx:command",
    "weights": "segline.commands.weights:command",
}
JUDGES = ("gate", "promote", "replay")  # their exit codes 0 and 1 are answers; 2 means no answer


def parse(argv: Sequence[str] | None) -> Namespace:
    """The command and its arguments."""
    parser = console.parser(__doc__)
    parser.prog = "segline"
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    check = add("check", "validate params.yaml before anything runs, and repair what a killed DVC left behind")
    cache = "also compare DVC's cache with the md5 of its objects; remove and replace damaged ones"
    check.add_argument("--cache", action="store_true", help=cache)
    runs = "replace outputs in dvc.lock that are in no cache by those of the same run, if it was made here"
    check.add_argument("--run-cache", action="store_true", help=runs)
    preset = add("preset", "copy presets/NAME.yaml over params.yaml")
    preset.add_argument("name", metavar="NAME")
    inspect = add("inspect", "write the sections data and preprocess for a folder of images with masks or annotations")
    inspect.add_argument("folder", type=Path, metavar="FOLDER")
    add("restore", "restore the outputs recorded in dvc.lock after a failed run")
    add("machine", "print the properties of this machine that decide the bytes of a model")
    _predict_arguments(add("predict", "label images of any size with a trained model"))
    _gate_arguments(
        add("gate", "compare metrics/ with a baseline; exit code 0: no regression, 1: regression, 2: cannot judge")
    )
    _promote_arguments(
        add(
            "promote",
            "move an alias of MLflow's model registry; exit code 0: it is there, 1: regression, 2: cannot judge",
        )
    )
    replay = add("replay", "run stages again in a temporary copy and compare their outputs with dvc.lock, byte by byte")
    replay.add_argument("stages", nargs="*", metavar="STAGE", help="stages to run (default: all)")
    noise = add("noise", "train with several seeds and write the spread of the scores to metrics/noise.json")
    noise.add_argument("--seeds", type=int, default=5, metavar="N", help="number of trainings (default: %(default)s)")
    folds = add("crossvalidate", "train on folds, so that every image is tested; writes metrics/crossvalidation.json")
    folds.add_argument("--folds", type=int, default=5, metavar="N", help="number of folds (default: %(default)s)")
    seeds = "trainings of each fold, from train.seed on (default: %(default)s)"
    folds.add_argument("--seeds", type=int, default=2, metavar="N", help=seeds)
    labels = add(
        "labels", "rank images and objects whose labels the models of the last `segline crossvalidate` dispute"
    )
    _annotation_arguments(labels, "write the labels of all images as what a labelling tool opens", least_area=0)
    export = add("export", "convert a trained model to ONNX and check it against torch")
    export.add_argument("--model", type=Path, required=True, metavar="FILE", help="model file from the train stage")
    export.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write, such as model.onnx")
    export.add_argument("--log", action="store_true", help="add it to the run in MLflow that trained the model")
    registered = "also register it in MLflow under this name, once for each model; includes --log"
    export.add_argument("--register", metavar="NAME", help=registered)
    weights = add("weights", "bring weights of an encoder into data/weights/ and print their lines for params.yaml")
    where = "a model of timm, such as resnet34.a1_in1k, or OWNER/REPOSITORY[:FILE] of a hub; with --as, a local file"
    weights.add_argument("name", metavar="NAME", help=where)
    order = "give the tensors of a local checkpoint, by their order, the names of this model of timm"
    weights.add_argument("--as", dest="timm", metavar="MODEL", help=order)
    return parser.parse_args(argv)


def _predict_arguments(command: argparse.ArgumentParser) -> None:
    images = "image files, or folders of them; give them before the options"
    command.add_argument("inputs", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER", help=images)
    command.add_argument("--model", type=Path, required=True, metavar="FILE", help="model file from the train stage")
    folder = "folder for the results: new, empty, or an earlier prediction to replace"
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help=folder)
    command.add_argument("--flip", action="store_true", help="average with the prediction of the mirrored image")
    scales = "average over these input sizes, relative to the model's own, such as 0.75 1.0 1.25"
    command.add_argument("--scales", type=float, nargs="+", default=[1.0], metavar="FACTOR", help=scales)
    batch = "images or tiles per batch (default: %(default)s)"
    command.add_argument("--batch-size", type=int, default=8, metavar="N", help=batch)
    objects = "number the objects of these classes, such as car pedestrian"
    command.add_argument("--instances", nargs="+", default=[], metavar="CLASS", help=objects)
    pixels = "fewest pixels of an object that a model has learnt, such as evaluate.objects.smallest of params.yaml"
    command.add_argument("--smallest-object", type=int, metavar="PIXELS", help=pixels)
    seed = "probability of inside from which on a pixel is its seed, such as evaluate.objects.seed of params.yaml"
    command.add_argument("--seed-probability", type=float, metavar="P", help=seed)
    rank = "put the least certain images first, with the entropy and the margin of each, and show them in one picture"
    command.add_argument("--rank", action="store_true", help=rank)
    planes = "write the probability of each class as a plane of a TIFF file, 0 to 255"
    command.add_argument("--probabilities", action="store_true", help=planes)
    forms = "write what a labelling tool opens: polygons, or exact pixels with coco and --tolerance 0"
    _annotation_arguments(command, forms, least_area=20)


def _annotation_arguments(command: argparse.ArgumentParser, forms: str, least_area: int) -> None:
    command.add_argument("--annotations", choices=("coco", "labelme", "cvat"), help=forms)
    away = "how far, in pixels, the outline of an annotation may be from that of its region (default: %(default)s)"
    command.add_argument("--tolerance", type=float, default=1.0, metavar="PIXELS", help=away)
    specks = "annotated regions of fewer pixels become part of their largest neighbour (default: %(default)s)"
    command.add_argument("--least-area", type=int, default=least_area, metavar="PIXELS", help=specks)
    rest = "the class that gets no annotations, but is what is left (default: background, if there is that class)"
    command.add_argument("--unlabelled", metavar="CLASS", help=rest)


def _gate_arguments(command: argparse.ArgumentParser) -> None:
    where = "a git revision, such as origin/main, or a folder of saved metrics"
    command.add_argument("--base", required=True, metavar="REV_OR_DIR", help=where)
    budget = "train both sides from the same seeds, from 2 to N, until the verdict is certain; BASE is a revision"
    compared = command.add_mutually_exclusive_group()
    compared.add_argument("--seeds", type=int, metavar="N", help=budget)
    folds = "compare the cross-validations of both sides: metrics/crossvalidation.json and what is beside it"
    compared.add_argument("--crossvalidation", action="store_true", help=folds)
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", default="text", help="print JSON")
    form.add_argument("--md", dest="form", action="store_const", const="markdown", help="print Markdown")
    command.add_argument("--strict", action="store_true", help="exit with 2 if the result is inconclusive")


def _promote_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="registered model, as in segline export --register NAME")
    command.add_argument("--version", type=int, metavar="N", help="version to promote (default: the newest)")
    alias = "alias to move, if the gate passes against the version that has it (default: %(default)s)"
    command.add_argument("--alias", default="champion", metavar="ALIAS", help=alias)


def run(args: Namespace) -> int:
    """Imports and runs the command that `args` names; returns its exit code."""
    module, _, name = COMMANDS[args.command].partition(":")
    code: int | None = getattr(importlib.import_module(module), name)(args)
    return code or 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that `argv` names and returns its exit code."""
    args = parse(argv)
    if args.command in JUDGES:
        return console.guarded(partial(run, args), fault=2)
    return run(args)


def entry() -> None:
    """The entry point of the installed `segline` command."""
    console.run(main)


if __name__ == "__main__":
    entry()
