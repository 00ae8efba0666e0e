"""Do the labelling tools' own libraries read and write as we say? `make test-tools`; RECORD=1 records what they write.

Each folder beside this file has a tool's `requirements.txt`, `make.py` and, in `made/`, what `make.py` wrote with them.
Their versions of OpenCV, pandas or Pillow are not ours: each tool gets an environment of its own in `.venv-tools`.
`make test` compares our sources with `made/` alone. The tool's `open.py` opens what `predict --annotations` writes.
"""

import argparse
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.sources.tools import predictions

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ENVIRONMENTS = ROOT / ".venv-tools"
INSTALL = runpy.run_path(str(ROOT / ".ci" / "install.py"))  # knows where to look for packages


def environment(tool: Path) -> Path:
    """The Python of the tool's environment, made again if its requirements have changed."""
    wanted, place = (tool / "requirements.txt").read_text(encoding="utf-8"), ENVIRONMENTS / tool.name
    stamp, python = place / "requirements.txt", place / "bin" / "python"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(place, ignore_errors=True)
        uv, found = [sys.executable, "-m", "uv"], INSTALL["arguments"](INSTALL["configured"]())
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(place)], check=True)
        command = [*uv, "pip", "install", "--quiet", "--python", str(python), *found]
        subprocess.run([*command, "-r", str(tool / "requirements.txt")], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def differences(made: Path, recorded: Path) -> list[str]:
    """The names of files that are in one folder only, or differ."""
    files = {
        folder: {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (made, recorded)
    }
    names = sorted(files[made].keys() | files[recorded].keys())
    return [name for name in names if files[made].get(name) != files[recorded].get(name)]


def misread(tool: Path, python: Path) -> list[str]:
    """What the tool's library makes of predictions that were written for it, where that is not what we say."""
    with tempfile.TemporaryDirectory() as temporary:
        requests = {Path(temporary) / name: request for name, request in predictions.requests(tool.name)}
        for folder, request in requests.items():
            predictions.write(folder, request)
        if requests:
            subprocess.run([python, tool / "open.py", *requests], check=True, timeout=300)
        return [
            f"{folder.name}: {stem}"
            for folder, request in requests.items()
            for stem in predictions.misread(folder, request)
        ]


def main() -> int:
    """0 if all that is recorded is what the tools make, and predictions are opened as they are meant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="replace what is recorded")
    parser.add_argument("tools", nargs="*", help="folders beside this file; all without any")
    arguments = parser.parse_args()
    known = sorted(path.parent for path in HERE.glob("*/requirements.txt"))
    different = 0
    for tool in [tool for tool in known if not arguments.tools or tool.name in arguments.tools]:
        python = environment(tool)
        with tempfile.TemporaryDirectory() as temporary:
            made = Path(temporary)
            subprocess.run([python, tool / "make.py", made], check=True, timeout=300)
            if arguments.record:
                shutil.rmtree(tool / "made", ignore_errors=True)
                shutil.copytree(made, tool / "made")
            names = differences(made, tool / "made")
        wrong = misread(tool, python)
        different += bool(names or wrong)
        sys.stdout.write(f"{tool.name}: {'differs: ' + ', '.join(names) if names else 'as recorded'}\n")
        if predictions.FORMS.get(tool.name):
            forms = " and ".join(predictions.FORMS[tool.name])
            shown = f"opened otherwise: {', '.join(wrong)}" if wrong else "opened as they are meant"
            sys.stdout.write(f"{tool.name}: predictions as {forms} are {shown}\n")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
