"""The `segline` command: what a user types besides `dvc`."""

import argparse
import importlib
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from segline.monitoring import console

# Command -> the function that runs it. A command imports nothing that only another one needs: torch takes over a second.
COMMANDS = {
    "check": "segline.commands.check:command",
    "preset": "segline.commands.presets:command",
    "inspect": "segline.commands.inspect_folder:command",
    "restore": "segline.reproducibility.restore:command",
    "machine": "segline.model.device:command",
    "predict": "segline.inference.predict:command",
    "gate": "segline.gate.command:command",
    "replay": "segline.reproducibility.replay:command",
    "noise": "segline.reproducibility.seed_noise:command",
    "export": "segline.inference.export_onnx:command",
}
JUDGES = ("gate", "replay")  # their exit codes 0 and 1 are answers; 2 means that there is none


def parse(argv: Sequence[str] | None) -> Namespace:
    """The command and its arguments."""
    parser = console.parser(__doc__)
    parser.prog = "segline"
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text)

    add("check", "validate params.yaml before anything runs")
    preset = add("preset", "copy presets/NAME.yaml over params.yaml")
    preset.add_argument("name", metavar="NAME")
    inspect = add("inspect", "write the data section of params.yaml for a folder of yours")
    inspect.add_argument("folder", type=Path, metavar="FOLDER")
    add("restore", "bring back the outputs that dvc.lock names after a run that failed")
    add("machine", "print what must be equal for a rerun to give the same model bytes")
    _predict_arguments(add("predict", "label images of any size with a trained model"))
    _gate_arguments(
        add("gate", "compare metrics/ with a baseline: exit code 0 no regression, 1 regression, 2 cannot judge")
    )
    replay = add("replay", "run stages again elsewhere and compare their bytes with dvc.lock")
    replay.add_argument("stages", nargs="*", metavar="STAGE", help="all, if none is named")
    noise = add("noise", "measure how much scores vary with the training seed: metrics/noise.json")
    noise.add_argument("--seeds", type=int, default=5, metavar="N", help="trainings (%(default)s)")
    export = add("export", "write a trained model as ONNX, checked against torch")
    export.add_argument("--model", type=Path, required=True, metavar="FILE", help="as the train stage wrote it")
    export.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write, such as model.onnx")
    return parser.parse_args(argv)


def _predict_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "inputs", type=Path, nargs="+", metavar="IMAGE_OR_FOLDER", help="PNG and JPEG, gray or RGB; name them first"
    )
    command.add_argument("--model", type=Path, required=True, metavar="FILE", help="as the train stage wrote it")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="new, empty, or an earlier prediction")
    command.add_argument("--flip", action="store_true", help="average with the mirrored image")
    scales = "average over input sizes, relative to the model's own, such as 0.75 1.0 1.25; images first"
    command.add_argument("--scales", type=float, nargs="+", default=[1.0], metavar="FACTOR", help=scales)
    command.add_argument("--batch-size", type=int, default=8, metavar="N", help="images at once (%(default)s)")
    objects = "number the objects of these classes, such as car pedestrian; images first"
    command.add_argument("--instances", nargs="+", default=[], metavar="CLASS", help=objects)


def _gate_arguments(command: argparse.ArgumentParser) -> None:
    where = "a revision, such as origin/main, or a folder of saved metrics"
    command.add_argument("--base", required=True, metavar="REV_OR_DIR", help=where)
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", default="text", help="for programs")
    form.add_argument("--md", dest="form", action="store_const", const="markdown", help="for a pull request")
    command.add_argument("--strict", action="store_true", help="exit with 2 where the result is inconclusive")


def run(args: Namespace) -> int:
    """Imports and runs the command that `args` names; its exit code."""
    module, _, name = COMMANDS[args.command].partition(":")
    code: int | None = getattr(importlib.import_module(module), name)(args)
    return code or 0


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code of the command that `argv` names."""
    args = parse(argv)
    if args.command in JUDGES:
        return console.guarded(partial(run, args), fault=2)
    return run(args)


def entry() -> None:
    """What the installed `segline` command calls."""
    console.run(main)


if __name__ == "__main__":
    entry()
