"""The space that copies of a user's files take, by DVC's `cache.type`: how much a disk fills when DVC collects them.

    python -m benchmarks.cache_types FOLDER

40 files of 1 MiB in a new project in FOLDER, whose file system is measured: best one that nobody else writes to. The
stage copies them as download does.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from segline.monitoring import console

TYPES = ("reflink,copy", "copy", "hardlink", "symlink")
FILES, MIB = 40, 1 << 20
COPY = """
from pathlib import Path
from segline.sources.collecting import copying
Path("raw").mkdir()
for path in Path("mine").iterdir():
    copying.copy_file(path, Path("raw", path.name))
"""
STAGE = "stages:\n  download:\n    cmd: python copy_files.py\n    deps: [mine]\n    outs: [raw]\n"
CONFIG = "[core]\n    analytics = false\n    no_scm = true\n[cache]\n    type = {}\n"


def filled(folder: Path, cache_type: str) -> float:
    """MiB that the disk fills by."""
    (folder / "mine").mkdir()
    for number in range(FILES):
        (folder / "mine" / f"{number}.png").write_bytes(os.urandom(MIB))
    (folder / "copy_files.py").write_text(COPY, encoding="utf-8")
    (folder / "dvc.yaml").write_text(STAGE, encoding="utf-8")
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text(CONFIG.format(cache_type), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.sync()
    before = shutil.disk_usage(folder).used
    command = [sys.executable, "-m", "dvc", "repro", "--quiet"]
    subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, check=True)
    os.sync()
    return (shutil.disk_usage(folder).used - before) / MIB


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = console.parser(__doc__)
    parser.add_argument("folder", type=Path, help="a folder on the file system to measure")
    folder = parser.parse_args(argv).folder
    console.say("| cache.type | MiB |\n|---|---|")
    for cache_type in TYPES:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            console.say(f"| {cache_type} | {filled(Path(temporary), cache_type):.0f} |")


if __name__ == "__main__":
    console.run(main)
