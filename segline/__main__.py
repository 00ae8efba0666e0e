"""The `segline` command: what a user types beside `dvc`."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from segline import cli


def parse(argv: Sequence[str] | None) -> Namespace:
    """The subcommand and its arguments."""
    parser = cli.parser(__doc__)
    parser.prog = "segline"
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, "check", check, "validate params.yaml before anything runs")
    preset = _add(commands, "preset", use_preset, "copy presets/NAME.yaml over params.yaml")
    preset.add_argument("name", metavar="NAME")
    inspect = _add(commands, "inspect", inspect_folder, "write the data section of params.yaml for a folder of yours")
    inspect.add_argument("folder", type=Path, metavar="FOLDER")
    _add(commands, "restore", restore_outputs, "bring back the outputs that dvc.lock names after a run that failed")
    _add(commands, "machine", show_machine, "print what must be equal for a rerun to give the same model bytes")
    _add_predict(commands)
    _add_gate(commands)
    replay = _add(commands, "replay", replay_stages, "run stages again elsewhere: are the bytes those of dvc.lock?")
    replay.add_argument("stages", nargs="*", metavar="STAGE", help="all, if none is named")
    noise = _add(commands, "noise", measure_noise, "how much scores vary with the training seed: metrics/noise.json")
    noise.add_argument("--seeds", type=int, default=5, metavar="N", help="trainings (%(default)s)")
    export = _add(commands, "export", export_model, "write a trained model as ONNX, checked against torch")
    export.add_argument("--model", type=Path, required=True, metavar="FILE", help="as the train stage wrote it")
    export.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write, such as model.onnx")
    return parser.parse_args(argv)


def _add(commands, name: str, function, text: str):  # type: ignore[no-untyped-def]  # argparse's own type is private
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(function=function)
    return command


def _add_predict(commands) -> None:  # type: ignore[no-untyped-def]
    command = _add(commands, "predict", predict_images, "label images of any size with a trained model")
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


def _add_gate(commands) -> None:  # type: ignore[no-untyped-def]
    text = "compare metrics/ with a baseline: exit code 0 no regression, 1 regression, 2 cannot judge"
    command = _add(commands, "gate", judge_branch, text)
    where = "a revision, such as origin/main, or a folder of saved metrics"
    command.add_argument("--base", required=True, metavar="REV_OR_DIR", help=where)
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", default="text", help="for programs")
    form.add_argument("--md", dest="form", action="store_const", const="markdown", help="for a pull request")
    command.add_argument("--strict", action="store_true", help="exit with 2 where the result is inconclusive")


def check(_: Namespace) -> None:
    """Validates params.yaml; every problem is reported."""
    from segline import check as checking  # noqa: PLC0415 - it imports torch, the other commands need not wait
    from segline import params  # noqa: PLC0415
    from segline.errors import combined  # noqa: PLC0415

    found = checking.problems() or checking.on_this_machine()
    if found:
        raise combined(params.FILE, found)
    for doubt in checking.doubts():
        cli.warn(doubt)
    cli.say(f"{params.FILE}: valid")


def use_preset(args: Namespace) -> None:
    """Copies a preset over params.yaml, unless that would lose edits."""
    from segline import params, presets  # noqa: PLC0415

    params.require_top_folder()
    presets.use(args.name, Path.cwd())
    cli.say(f"params.yaml is now presets/{args.name}.yaml")


def inspect_folder(args: Namespace) -> None:
    """Prints the data section that fits a folder, and warns of what is wrong there."""
    from segline import inspection  # noqa: PLC0415
    from segline.errors import DataError  # noqa: PLC0415

    found = inspection.inspect(args.folder)
    if found.section:
        cli.say(found.section)
    for problem in found.problems:
        cli.warn(problem)
    if not found.section:
        raise DataError(args.folder, "no image or no mask that can be used", "Mend what is named, and inspect again.")


def restore_outputs(_: Namespace) -> None:
    """Brings outputs back from DVC's cache."""
    from segline import lock, params, restore  # noqa: PLC0415

    params.require_top_folder(lock.FILE)
    for path in restore.restore(Path.cwd()):
        cli.say(f"restored {path}")
    for doubt in restore.doubts(Path.cwd()):
        cli.warn(doubt)


def predict_images(args: Namespace) -> None:
    """Writes masks, overlays and a summary of images."""
    from segline import inference  # noqa: PLC0415

    instances = tuple(dict.fromkeys(args.instances))
    request = inference.Request(args.batch_size, tuple(args.scales), args.flip, instances)
    inference.run(args.inputs, args.model, args.out, request)


def judge_branch(args: Namespace) -> int:
    """Says whether the working tree scores lower than a baseline."""

    def judge() -> int:
        from segline.gate import command  # noqa: PLC0415

        return command.run(args.base, args.form, args.strict)

    return cli.guarded(judge, fault=2)


def export_model(args: Namespace) -> None:
    """Writes a model as ONNX."""
    from segline import export  # noqa: PLC0415

    export.run(args.model, args.out)


def show_machine(_: Namespace) -> None:
    """Prints the machine's fingerprint as one line a fact."""
    from segline import device  # noqa: PLC0415

    for name, value in device.fingerprint().items():
        cli.say(f"{name}: {value}")


def replay_stages(args: Namespace) -> int:
    """0 if stages give the bytes of dvc.lock again, 1 if not, 2 if that could not be tried."""
    from segline import lock, params, replay  # noqa: PLC0415 - it imports torch, the other commands need not wait

    def judge() -> int:
        params.require_top_folder(lock.FILE)
        return 0 if replay.replay(Path.cwd(), args.stages) else 1

    return cli.guarded(judge, fault=2)


def measure_noise(args: Namespace) -> None:
    """Trains and evaluates from other seeds, and writes how much the scores vary."""
    from segline import lock, noise, params  # noqa: PLC0415

    params.require_top_folder(lock.FILE)
    noise.measure(Path.cwd(), args.seeds)


def main(argv: Sequence[str] | None = None) -> int | None:
    args = parse(argv)
    code: int | None = args.function(args)
    return code


def entry() -> None:
    """What the installed `segline` command calls."""
    cli.run(main)


if __name__ == "__main__":
    entry()
