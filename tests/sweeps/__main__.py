"""Kills, failing disks, flipped bits, mutated files and outages, each drawn at random from a seed: `make sweep`.

Ends with one line of figures; exit code 1 if any trial went wrong.
"""

import sys
import tempfile
from pathlib import Path

from segline.monitoring import console
from tests.e2e import project
from tests.sweeps import disk, flips, inputs, kills, mlflow
from tests.sweeps.tally import Clock, Random, Tally

DEFAULTS = {"flips": 1000, "inputs": 1000, "disk": 60, "outages": 6, "kills": 20}  # inputs: for each reader
SHARES = {"flips": 0.1, "inputs": 0.25, "disk": 0.4, "outages": 0.3, "kills": 1.0}  # of the time that is left


def main() -> int:
    """Runs each sweep within its share of the time."""
    parser = console.parser(__doc__)
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of all draws (default: 1)")
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="when to stop (default: 10)")
    for name, count in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N", help=f"(default: {count})")
    asked = vars(parser.parse_args())
    clock = Clock(asked["minutes"] * 60)
    with tempfile.TemporaryDirectory(prefix="segline-sweep-") as name:
        scratch = Path(name)
        console.say("sweep: making the reference")
        reference = project.create(scratch / "reference", scratch / "home")
        reference.dvc("repro")
        reference.commit("Reproduce")
        tallies = []
        for kind in [kind for kind in DEFAULTS if asked[kind]]:
            folder = scratch / kind
            folder.mkdir()
            random, until = Random(f"{asked['seed']} {kind}"), Clock(clock.left * SHARES[kind])
            tallies.append(sweep(kind, reference, random, asked[kind], until, folder))
            console.say(f"sweep: {tallies[-1].line}")
    console.say("; ".join([f"seed {asked['seed']}", *(tally.line for tally in tallies)]))
    return int(any(tally.faults for tally in tallies))


def sweep(kind: str, reference: project.Project, random: Random, count: int, clock: Clock, folder: Path) -> Tally:
    """One kind of sweep."""
    if kind == "flips":
        return flips.sweep(reference.root, random, count, clock, folder)
    if kind == "inputs":
        return inputs.sweep(random, count, clock, folder)
    module = {"disk": disk, "outages": mlflow, "kills": kills}[kind]
    return module.sweep(reference, random, count, clock, folder)


if __name__ == "__main__":
    sys.exit(main())
