"""Checks every image and mask, makes rows of them and packs the masks as one-hot bits: data/raw -> data/processed."""

from segline.monitoring import console  # first: it handles Ctrl-C while the rest is imported

# isort: split
import argparse
from collections.abc import Sequence

from segline.core import params
from segline.dataset import raw
from segline.preprocessing import audit, pairs, split_writer


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The paths that dvc.yaml gives."""
    return console.paths(__doc__, argv, raw="the data set of the download stage", processed="folder for the arrays")


def main(argv: Sequence[str] | None = None) -> None:
    """Writes one folder of arrays for each split. Raises every problem of the data set at once."""
    arguments = parse(argv)
    section = params.section(params.load(), "preprocess", pairs.Section)
    data = raw.read(arguments.raw)
    recipe = pairs.recipe(arguments.raw, data, section)
    indices = split_writer.write(arguments.raw, arguments.processed, recipe, data)
    for warning in audit.shared_groups(data):
        console.warn(warning)
    console.say(f"preprocess: {split_writer.summary(indices)} at {recipe.form} -> {arguments.processed}")


if __name__ == "__main__":
    console.run(main)
