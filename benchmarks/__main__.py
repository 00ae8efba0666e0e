"""`make bench`: every benchmark without special needs, one after another.

Each also runs alone: `python -m benchmarks.<name>`. `gpu` (`make bench-gpu`) needs a GPU, `gate_power` minutes for
each training, `time_to_accuracy` and `record` CamVid.
"""

import os
import platform

from benchmarks import augmentation, folder, pipeline, predict, preprocess, start, streaming, training_step
from segline.model import device
from segline.monitoring import console


def main(_: object = None) -> None:
    """Prints the machine, then the tables."""
    facts = device.fingerprint() | {"python": platform.python_version(), "cores": str(os.cpu_count())}
    console.say("machine: " + ", ".join(f"{name} {value}" for name, value in facts.items()))
    archive = os.environ.get("SEGLINE_CAMVID")
    for title, run, arguments in (
        ("Preprocess", preprocess.main, [archive] if archive else []),
        ("Folder", folder.main, ["800"]),
        ("Training step", training_step.main, []),
        ("Augmentation", augmentation.main, []),
        ("Streaming", streaming.main, []),
        ("Predict", predict.main, []),
        ("Start", start.main, []),
        ("Pipeline", pipeline.main, []),
    ):
        console.say(f"\n## {title}\n")
        run(arguments)


if __name__ == "__main__":
    console.run(main)
