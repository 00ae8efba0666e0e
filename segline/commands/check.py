"""Whether params.yaml can be used, found out before DVC removes anything.

Every section is validated by the room that owns it, those of sources and networks that are not chosen included.
"""

import unicodedata
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from segline.core import params, pipeline, plugins
from segline.core.errors import ParameterError, PipelineError, Problems, combined, suggestion
from segline.model import device, output_head
from segline.monitoring import console, mlflow_run
from segline.preprocessing import class_table, pairs
from segline.reporting import selection
from segline.scoring import evaluation
from segline.sources.collecting import download
from segline.training import loop, pretrained
from segline.training.augmentation import plan

OWNERS: dict[str, type[params.Section]] = {
    "preprocess": pairs.Section,
    "train": loop.Section,
    "augment": plan.Section,
    "evaluate": evaluation.Section,
    "plot": selection.Section,
}
_EXPANDED = '"$`\\'  # by the shell, within the quotes that dvc.yaml puts around data.input
_UNSAID = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of pairs, breaks of lines and paragraphs
# Section: the key that picks one of a package, the package, and the keys that are no alternative.
CHOICES = {
    "data": ("source", "segline.sources", ("source", "input")),
    "model": ("name", "segline.networks", ("name", "head")),
}


def problems(path: Path = params.FILE) -> list[PipelineError]:
    """Everything that is wrong with the file: unknown, missing, mistyped and out-of-range keys, splits that the source
    does not have, and an input that cannot be one. Empty if nothing is."""
    document = params.load(path)
    known = [*OWNERS, *CHOICES]
    found: list[PipelineError] = [_unknown("", key, known) for key in document if key not in known]
    for key, owner in OWNERS.items():
        found += _raised(params.section, document, key, owner)
    for key in CHOICES:
        found += _choice(document, key)
    found += _head(document)
    return found or [
        *_splits(document),
        *_input(params.text(document, "data.input")),
        *_raised(_require_fit, document),
    ]


def on_this_machine(path: Path = params.FILE) -> list[PipelineError]:
    """What valid parameters ask for and this machine or checkout lacks: device, format, compiler, input, weights.

    Of a folder of the user's every missing image, mask and list is told here, before DVC removes what it made of it.
    """
    document = params.load(path)
    name, module = _source(document)
    source = params.section(document, f"data.{name}", module.Section)
    train = params.section(document, "train", loop.Section)
    found = _raised(module.require_input, source, Path(params.text(document, "data.input")))
    found += _raised(pretrained.read, document)
    found += _raised(lambda: device.require_precision(device.pick(), train.precision))
    if train.compile:
        found += _raised(lambda: device.require_compiler(device.pick()))
    return found + _raised(mlflow_run.switched_on)


def doubts(path: Path = params.FILE) -> list[str]:
    """What may stop a run, a sentence each: an archive that is not where `data.<source>.url` of valid parameters says.

    No error: only `download` reads it, and where the raw data come from a cache or a remote that stage does not run.
    """
    document = params.load(path)
    key = f"data.{params.text(document, 'data.source')}"
    url = params.find(document, key).get("url")
    archive = download.local(url) if isinstance(url, str) else None
    if archive is None or archive.is_file():
        return []
    consequence = "If the download stage has to run, it fails; `make restore` then brings data/raw back."
    return [f"{params.FILE}: {key}.url: there is no file {archive}. {consequence}"]


def _unknown(section: str, key: str, known: list[str]) -> ParameterError:
    return ParameterError(f"{params.FILE}: {section}{key}", "unknown key", suggestion(key, known, "Remove it."))


def _raised(function: Callable[..., Any], *arguments: Any) -> list[PipelineError]:
    """The errors a user can mend that a call raises."""
    try:
        function(*arguments)
    except Problems as error:
        return error.problems
    except PipelineError as error:
        return [error]
    return []


def _choice(document: params.Document, key: str) -> list[PipelineError]:
    """What is wrong with `data` or `model`: the alternative chosen must be there, all that are there must be valid."""
    selector, package, own = CHOICES[key]
    section = document.get(key)
    if not isinstance(section, dict):
        return [ParameterError(f"{params.FILE}: {key}", "expected a section", "See presets/synthetic.yaml.")]
    names = plugins.names(package)
    known = [*own, *names]
    found: list[PipelineError] = [_unknown(f"{key}.", name, known) for name in section if name not in known]
    for name in own:
        found += _raised(params.text, document, f"{key}.{name}")
    chosen = section.get(selector)
    if isinstance(chosen, str):
        found += _raised(plugins.choose, package, chosen, f"{key}.{selector}")
    for name in names:
        if name in section or name == chosen:
            owner = plugins.choose(package, name, key=f"{key}.{selector}").Section
            found += _raised(params.section, document, f"{key}.{name}", owner)
    return found


def _head(document: params.Document) -> list[PipelineError]:
    """A head that does not exist. One that is missing, or no text, has been found by `_choice`."""
    section = document.get("model")
    head = section.get("head") if isinstance(section, dict) else None
    return _raised(output_head.require_known, head) if isinstance(head, str) else []


def _source(document: params.Document) -> tuple[str, Any]:
    """The name of the source and its module."""
    name = params.text(document, "data.source")
    return name, plugins.choose("segline.sources", name, key="data.source")


def _splits(document: params.Document) -> list[PipelineError]:
    """Splits that train and evaluate need and the source does not have; all sections are valid here."""
    source, module = _source(document)
    there = module.splits(params.section(document, f"data.{source}", module.Section))
    needed = {
        "train": "train needs it",
        "val": "train needs it",
        params.text(document, "evaluate.split"): "evaluate.split",
    }
    return [
        ParameterError(
            f"{params.FILE}: data.{source}", f"has no split {split!r} ({why})", f"It has: {', '.join(there)}."
        )
        for split, why in needed.items()
        if split not in there
    ]


def _require_fit(document: params.Document) -> None:
    """Raises what does not fit the classes of the source, or the network; all sections are valid here."""
    source, module = _source(document)
    section = params.section(document, f"data.{source}", module.Section)
    data = module.describe(section, Path(params.text(document, "data.input")))
    recipe = params.section(document, "preprocess", pairs.Section)
    table = class_table.table(Path(f"{params.FILE}: data.{source}"), data, recipe.merge, recipe.void == "class")
    outputs = output_head.outputs(params.text(document, "model.head"), len(table.classes))
    name = params.text(document, "model.name")
    network = plugins.choose("segline.networks", name, key="model.name")
    with torch.device("meta"):
        built = network.build(params.section(document, f"model.{name}", network.Section), recipe.channels, outputs)
    loop.require_encoder(built, params.section(document, "train", loop.Section).frozen_epochs)


def _input(text: str) -> list[PipelineError]:
    """Why `data.input` cannot be what the pipeline starts from: it stands in a command, and DVC watches it."""
    where = f"{params.FILE}: data.input"
    if held := [each for each in text if each in _EXPANDED or unicodedata.category(each) in _UNSAID]:
        found = f"holds {held[0]!r}, which the shell or DVC would not leave as it is"
        remedy = f"Rename it: anything but {' '.join(_EXPANDED)} and control characters may stand there."
        return [ParameterError(where, found, remedy)]
    if text.startswith("-"):
        return [ParameterError(where, f"{text} begins like an option", f"Write ./{text}.")]
    place = Path(text).resolve()
    for name in pipeline.output_folders():
        output = name.resolve()
        if place.is_relative_to(output) or output.is_relative_to(place):
            found = f"{text!r} and {name}, which the pipeline writes, overlap"
            return [ParameterError(where, found, "Keep what it starts from elsewhere, such as in data/source.")]
    return []


def command(_: Namespace) -> None:
    """`segline check`. Raises every problem of params.yaml at once."""
    if found := problems() or on_this_machine():
        raise combined(params.FILE, found)
    for doubt in doubts():
        console.warn(doubt)
    console.say(f"{params.FILE}: valid")
