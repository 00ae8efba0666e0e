"""A driver whose tasks are small: `python -m tests.cluster.driver NAME...` runs one task for each name, and says how.

A name that starts with "wait" waits until the folder of the driver has a file `go`; "fail" fails.
"""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from segline.core.errors import DataError
from segline.monitoring import console
from segline.scheduling import tasks
from segline.scheduling.places import Place


def task(name: str, place: Place) -> str:
    """Writes the id of its process to the file `name`."""
    Path(f"{name}.pid").write_text(str(os.getpid()), encoding="utf-8")
    while name.startswith("wait") and not Path("go").exists():
        place.check()
        time.sleep(0.05)
    if name == "fail":
        raise DataError(name, "broken", "Repair it.")
    return f"{name} {os.environ['OMP_NUM_THREADS']} {os.environ.get('RAY_ADDRESS')} {place.environment}"


def main(names: Sequence[str] | None = None) -> None:
    with closing(tasks.run(task, sys.argv[1:] if names is None else names)) as results:
        for result in results:
            console.say(result)


if __name__ == "__main__":
    console.run(main)
