"""`segline preset`: one of the complete parameter files in presets/ replaces params.yaml."""

from argparse import Namespace
from pathlib import Path

import torch

from segline.commands import check
from segline.core import atomic, git, params
from segline.core.errors import ParameterError, Problems, suggestion
from segline.model import device
from segline.monitoring import console

FOLDER = Path("presets")
CAMVID = "camvid"  # how the presets of that data set begin


def names(root: Path) -> list[str]:
    """The names of all presets, sorted."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.yaml"))


def file(name: str, root: Path) -> Path:
    """presets/NAME.yaml. Raises ParameterError if there is no such preset."""
    known = names(root)
    if name not in known:
        remedy = suggestion(name, known, "") + f" Choose one of: {', '.join(known)}."
        raise ParameterError(f"PRESET={name}", "no such preset", remedy)
    return root / FOLDER / f"{name}.yaml"


def require_usable(preset: Path) -> None:
    """Raises every problem that a run with this preset would have on this machine."""
    if problems := check.problems(preset) or check.on_this_machine(preset):
        raise Problems(f"{FOLDER / preset.name} cannot be used here, {params.FILE} stays as it is", problems)


def use(name: str, root: Path) -> None:
    """Copies presets/NAME.yaml over params.yaml. Raises ParameterError if unknown, or if edits would be lost."""
    preset, target = file(name, root), root / params.FILE
    if not _is_saved(target, sorted((root / FOLDER).glob("*.yaml"))):
        remedy = (
            "Keep them: `cp params.yaml presets/NAME.yaml` or `git commit params.yaml`; "
            "or drop them: `git checkout HEAD params.yaml`. Then run again."
        )
        raise ParameterError(target.name, "has edits that are not committed and would be lost", remedy)
    with atomic.file(target) as temporary:
        temporary.write_bytes(preset.read_bytes())


def _is_saved(target: Path, presets: list[Path]) -> bool:
    """True if a preset or the last commit has the same content: then nothing is lost."""
    if not target.exists():
        return True
    content = target.read_bytes()
    if any(content == preset.read_bytes() for preset in presets):
        return True
    return git.answer(target.parent, "show", f"HEAD:./{target.name}") == content


def camvid_preset(target: torch.device) -> str:
    """The preset that makes the most of CamVid on this device within minutes; of a GPU in hours."""
    if target.type == "cuda":
        return "camvid"
    return "camvid-five-minutes" if device.precision(target, "auto") == "bfloat16" else "camvid-fast"


def command(args: Namespace) -> None:
    """`segline preset NAME`."""
    params.require_top_folder()
    require_usable(file(args.name, Path.cwd()))
    use(args.name, Path.cwd())
    console.say(f"params.yaml is now presets/{args.name}.yaml")
    target = device.pick()
    suited = camvid_preset(target)
    if args.name.startswith(CAMVID) and args.name != suited:
        facts = f"{target.type}, {device.precision(target, 'auto')}"
        console.say(f"the CamVid preset that suits this machine ({facts}) is {suited}: make repro PRESET={suited}")
