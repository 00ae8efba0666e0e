"""Whether stages gave the outputs that the committed dvc.lock names: `compare_lock.py STAGE...`"""

import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML


def outputs(text: str, stage: str) -> dict[str, str]:
    """Output path -> md5 of a stage."""
    return {out["path"]: out["md5"] for out in YAML(typ="safe").load(text)["stages"][stage]["outs"]}


committed = subprocess.run(["git", "show", "HEAD:dvc.lock"], capture_output=True, text=True, check=True).stdout
made = Path("dvc.lock").read_text(encoding="utf-8")
different = [stage for stage in sys.argv[1:] if outputs(committed, stage) != outputs(made, stage)]
if different:
    sys.exit(f"other outputs than the committed dvc.lock names: {', '.join(different)}")
