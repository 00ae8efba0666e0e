"""Raw images and masks from the chosen source -> data/raw, with an index of what is there."""

from argparse import Namespace
from collections.abc import Sequence

from segline.core import atomic, params, plugins
from segline.dataset import raw
from segline.monitoring import console


def parse(argv: Sequence[str] | None) -> Namespace:
    """The paths this stage reads and writes."""
    return console.paths(
        __doc__,
        argv,
        input="what the source starts from: a manifest, a folder of the user's, or its own code",
        raw="folder to write the data set to",
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Collects the data set of `data.source` and writes it with its index, whole or not at all."""
    arguments = parse(argv)
    document = params.load()
    source = params.text(document, "data.source")
    module = plugins.choose("segline.sources", source, key="data.source")
    section = params.section(document, f"data.{source}", module.Section)

    with atomic.folder(arguments.raw) as folder:
        collected = module.collect(section, arguments.input, folder)
        raw.write(folder, collected)
    console.say(f"{arguments.raw}: {summary(collected)}")


def summary(collected: raw.Dataset) -> str:
    """Its name, and for each split the number of pairs and of the groups they come from."""
    counts = (
        f"{split} {len(pairs)} ({len({pair.group for pair in pairs} - {None})})"
        for split, pairs in collected.splits.items()
    )
    return f"{collected.name}, {len(collected.classes)} classes; pairs (groups): {', '.join(counts)}"


if __name__ == "__main__":
    console.run(main)
