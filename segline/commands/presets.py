"""`segline preset`: one of the complete parameter files in presets/ replaces params.yaml."""

from argparse import Namespace
from pathlib import Path

from segline.core import atomic, git, params
from segline.core.errors import ParameterError, suggestion
from segline.monitoring import console

FOLDER = Path("presets")


def names(root: Path) -> list[str]:
    """The names of all presets, sorted."""
    return sorted(path.stem for path in (root / FOLDER).glob("*.yaml"))


def use(name: str, root: Path) -> None:
    """Copies presets/NAME.yaml over params.yaml. Raises ParameterError if unknown, or if edits would be lost."""
    known = names(root)
    if name not in known:
        remedy = suggestion(name, known, "") + f" Choose one of: {', '.join(known)}."
        raise ParameterError(f"PRESET={name}", "no such preset", remedy)
    target = root / params.FILE
    if not _is_saved(target, [root / FOLDER / f"{known_name}.yaml" for known_name in known]):
        remedy = (
            "Keep them: `cp params.yaml presets/NAME.yaml` or `git commit params.yaml`; "
            "or drop them: `git checkout HEAD params.yaml`. Then run again."
        )
        raise ParameterError(target.name, "has edits that are not committed and would be lost", remedy)
    with atomic.file(target) as temporary:
        temporary.write_bytes((root / FOLDER / f"{name}.yaml").read_bytes())


def _is_saved(target: Path, presets: list[Path]) -> bool:
    """True if a preset or the last commit has the same content: then nothing is lost."""
    if not target.exists():
        return True
    content = target.read_bytes()
    if any(content == preset.read_bytes() for preset in presets):
        return True
    return git.answer(target.parent, "show", f"HEAD:./{target.name}") == content


def command(args: Namespace) -> None:
    """`segline preset NAME`."""
    params.require_top_folder()
    use(args.name, Path.cwd())
    console.say(f"params.yaml is now presets/{args.name}.yaml")
