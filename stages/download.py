"""Raw images and masks from the chosen source -> data/raw, with an index of them."""

from segline.monitoring import console  # first: it handles Ctrl-C while the rest is imported

# isort: split
from argparse import Namespace
from collections.abc import Sequence

from segline.core import atomic, params, plugins
from segline.dataset import raw
from segline.sources.collecting import object_storage


def parse(argv: Sequence[str] | None) -> Namespace:
    """The paths that dvc.yaml gives."""
    return console.paths(
        __doc__,
        argv,
        input="the input of the source: a manifest, a folder of yours or an s3:// URL of one, or its own code",
        raw="folder to write the data set to",
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Collects the data set of `data.source` and writes it with its index, completely or not at all."""
    arguments = parse(argv)
    document = params.load()
    source = params.text(document, "data.source")
    module = plugins.choose("segline.sources", source, key="data.source")
    section = params.section(document, f"data.{source}", module.Section)

    with atomic.folder(arguments.raw) as folder:
        with object_storage.local(arguments.input, folder / ".input") as source_input:
            collected = module.collect(section, source_input, folder)
        raw.write(folder, collected)
    console.say(f"{arguments.raw}: {raw.summary(collected)}")


if __name__ == "__main__":
    console.run(main)
