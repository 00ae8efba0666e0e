"""Whether dvc.lock and the results in git are those of this code and params.yaml; needs neither data nor cache.

DVC is asked in a copy of what git has or could have: where data lie, `dvc repro --dry` judges them too, and exits 0
although a stage would run. Data outside git are not judged. `--allow-missing` forgives missing results that belong in
git too, so those are looked for.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

REMEDY = "Run `make repro`, then commit dvc.lock and metrics."
UP_TO_DATE = "Data and pipelines are up to date."


def copy_sources(folder: Path) -> None:
    """The files that git tracks or could, as they are now, in a folder that is no repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if listed.returncode:
        sys.exit("dvc.lock: cannot be checked without git, which knows what a clone would hold.")
    for name in filter(None, listed.stdout.split("\0")):
        if Path(name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(name, folder / name)
    (folder / ".dvc/config.local").write_text("[core]\n    no_scm = true\n", encoding="utf-8")


def results_in_git(folder: Path) -> list[str]:
    """The outputs that dvc.yaml keeps out of DVC's cache."""
    stages = YAML(typ="safe").load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    declared = [entry for stage in stages for entry in [*stage.get("metrics", []), *stage.get("plots", [])]]
    return [path for entry in declared for path, how in entry.items() if not how["cache"]]


def problem(folder: Path) -> str | None:
    """What is wrong, or None."""
    if missing := [path for path in results_in_git(folder) if not (folder / path).is_file()]:
        return f"dvc.lock: its results are missing: {', '.join(missing)}. {REMEDY}"
    command = [sys.executable, "-m", "dvc", "repro", "--dry", "--allow-missing"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 0 and UP_TO_DATE in done.stdout:
        return None
    stage = re.search(r"(?:Running stage|failed to reproduce) '(\w+)'", done.stdout)
    return f"dvc.lock: not that of this code and params.yaml: {stage[1]} would run. {REMEDY}" if stage else done.stdout


with tempfile.TemporaryDirectory() as scratch:
    copy_sources(Path(scratch))
    sys.exit(problem(Path(scratch)))
