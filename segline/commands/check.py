"""Whether params.yaml can be used, checked before DVC removes anything.

Every section is validated by the module that owns it, including those of sources and networks that are not chosen.
"""

import unicodedata
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from segline.commands import stray_entries
from segline.core import params, pipeline, plugins
from segline.core.errors import FetchError, ParameterError, PipelineError, Problems, combined, suggestion
from segline.gate import reach
from segline.model import device, output_head
from segline.monitoring import console, mlflow_run
from segline.preprocessing import pairs
from segline.reporting import selection
from segline.reproducibility import dvc_state, restore, run_cache
from segline.scoring import evaluation
from segline.sources.collecting import download, object_storage
from segline.training import loop, pretrained, start_from, workers
from segline.training.augmentation import plan

OWNERS: dict[str, type[params.Section]] = {
    "preprocess": pairs.Section,
    "train": loop.Section,
    "augment": plan.Section,
    "evaluate": evaluation.Section,
    "plot": selection.Section,
}
_EXPANDED = '"$`\\'  # by the shell, inside the quotes that dvc.yaml puts around data.input
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, lone surrogates, line and paragraph separators
# Section -> the key that picks a module of a package, the package, and the keys that do not name such a module.
CHOICES = {
    "data": ("source", "segline.sources", ("source", "input")),
    "model": ("name", "segline.networks", ("name", "head")),
}


def problems(path: Path = params.FILE) -> list[PipelineError]:
    """Every problem of the file: unknown, missing, mistyped and out-of-range keys, splits that the source
    does not have, an unusable input. Empty if it is valid."""
    document = params.load(path)
    known = [*OWNERS, *CHOICES]
    errors: list[PipelineError] = [_unknown("", key, known) for key in document if key not in known]
    for key, owner in OWNERS.items():
        errors += _raised(params.section, document, key, owner)
    for key in CHOICES:
        errors += _choice(document, key)
    errors += _head(document)
    return errors or [
        *_splits(document),
        *_input(params.text(document, "data.input")),
        *_raised(_require_fit, document),
    ]


def on_this_machine(path: Path = params.FILE) -> list[PipelineError]:
    """What valid parameters need and this machine or checkout lacks: device, precision, compiler, input, weights.

    Every missing image, mask and list of a user's folder is reported here, before DVC removes earlier results. But
    what DVC cannot read there comes first, and alone. Of an input in object storage, names are; a store that gives no
    answer is only warned of.
    """
    document = params.load(path)
    name, module = _source(document)
    source = params.section(document, f"data.{name}", module.Section)
    train = params.section(document, "train", loop.Section)
    text = params.text(document, "data.input")
    if object_storage.is_url(text):
        errors = _in_object_storage(text)
    else:
        errors = [*stray_entries.problems(Path(text))] or _raised(module.require_input, source, Path(text))
    errors += _raised(pretrained.read, document)
    errors += _raised(start_from.read, train.start_from, document)
    errors += _raised(lambda: device.require_precision(device.pick(), train.precision))
    if train.compile:
        errors += _raised(lambda: device.require_compiler(device.pick()))
    errors += _raised(workers.wanted, train.shards)
    return errors + _raised(mlflow_run.switched_on)


def doubts(path: Path = params.FILE) -> list[str]:
    """What may stop a run, one sentence each: there is no archive at `data.<source>.url` of valid parameters. And what
    one may not have meant: fewer workers than asked for.

    A missing archive is not an error: only `download` reads it, and it does not run if a cache or remote has the raw
    data.
    """
    document = params.load(path)
    fewer = workers.fewer(params.section(document, "train", loop.Section).shards)
    return [*([fewer] if fewer else []), *_missing_archive(document)]


def _in_object_storage(url: str) -> list[PipelineError]:
    """Problems of the objects, found by listing them."""
    errors = _raised(object_storage.objects, url)
    for error in errors:
        if isinstance(error, FetchError):
            console.warn(str(error))
    return [error for error in errors if not isinstance(error, FetchError)]


def _missing_archive(document: params.Document) -> list[str]:
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
    """The errors that a call raises and a user can fix."""
    try:
        function(*arguments)
    except Problems as error:
        return error.problems
    except PipelineError as error:
        return [error]
    return []


def _choice(document: params.Document, key: str) -> list[PipelineError]:
    """Problems of `data` or `model`: the chosen section must exist, and every section that exists must be valid."""
    selector, package, own = CHOICES[key]
    section = document.get(key)
    if not isinstance(section, dict):
        return [ParameterError(f"{params.FILE}: {key}", "expected a section", "See presets/synthetic.yaml.")]
    names = plugins.names(package)
    known = [*own, *names]
    errors: list[PipelineError] = [_unknown(f"{key}.", name, known) for name in section if name not in known]
    for name in own:
        errors += _raised(params.text, document, f"{key}.{name}")
    chosen = section.get(selector)
    if isinstance(chosen, str):
        errors += _raised(plugins.choose, package, chosen, f"{key}.{selector}")
    for name in names:
        if name in section or name == chosen:
            owner = plugins.choose(package, name, key=f"{key}.{selector}").Section
            errors += _raised(params.section, document, f"{key}.{name}", owner)
    return errors


def _head(document: params.Document) -> list[PipelineError]:
    """A head that does not exist. `_choice` reports one that is missing or not text."""
    section = document.get("model")
    head = section.get("head") if isinstance(section, dict) else None
    return _raised(output_head.require_known, head) if isinstance(head, str) else []


def _source(document: params.Document) -> tuple[str, Any]:
    """The name of the source and its module."""
    name = params.text(document, "data.source")
    return name, plugins.choose("segline.sources", name, key="data.source")


def _splits(document: params.Document) -> list[PipelineError]:
    """Splits that train and evaluate need and the source does not have; all sections are valid at this point."""
    source, module = _source(document)
    there = module.splits(params.section(document, f"data.{source}", module.Section))
    where, found = f"{params.FILE}: data.{source}", f"It has: {', '.join(there)}."
    errors: list[PipelineError] = [
        ParameterError(where, f"has no split {split!r} (train needs it)", found)
        for split in ("train", "val")
        if split not in there
    ]
    scored = params.text(document, "evaluate.split")
    if scored not in there and scored not in ("train", "val"):
        remedy = f"{found} Set evaluate.split to the one to be scored."
        errors.append(ParameterError(where, f"has no split {scored!r} (evaluate.split)", remedy))
    return errors


def _require_fit(document: params.Document) -> None:
    """Raises if parameters do not suit the classes of the source or the network; all sections are valid by now."""
    source, module = _source(document)
    section = params.section(document, f"data.{source}", module.Section)
    data = module.describe(section, Path(params.text(document, "data.input")))
    recipe = params.section(document, "preprocess", pairs.Section)
    evaluation.require_objects(params.section(document, "evaluate", evaluation.Section), recipe.objects)
    table = pairs.table(Path(f"{params.FILE}: data.{source}"), data, recipe)
    outputs = output_head.outputs(params.text(document, "model.head"), len(table.classes))
    name = params.text(document, "model.name")
    network = plugins.choose("segline.networks", name, key="model.name")
    prepared = pairs.preparation(recipe)
    plan.require_colours(params.section(document, "augment", plan.Section), prepared.bands)
    with torch.device("meta"):
        built = network.build(params.section(document, f"model.{name}", network.Section), prepared.channels, outputs)
    train = params.section(document, "train", loop.Section)
    loop.require_encoder(built, train)
    loop.require_shards(built, train, prepared)


def _input(text: str) -> list[PipelineError]:
    """Why `data.input` cannot be used, if so: it is part of a command, and DVC tracks it."""
    where = f"{params.FILE}: data.input"
    if refused := [each for each in text if each in _EXPANDED or unicodedata.category(each) in _UNPRINTABLE]:
        problem = f"contains {refused[0]!r}, which the shell or DVC would change"
        remedy = f"Rename it: anything but {' '.join(_EXPANDED)} and control characters is allowed."
        return [ParameterError(where, problem, remedy)]
    if text.startswith("-"):
        return [ParameterError(where, f"{text} starts like an option", f"Write ./{text}.")]
    if object_storage.is_url(text):
        return _raised(object_storage.require_usable, text)
    place = Path(text).resolve()
    for name in pipeline.output_folders():
        output = name.resolve()
        if place.is_relative_to(output) or output.is_relative_to(place):
            problem = f"{text!r} overlaps with {name}, which the pipeline writes"
            return [ParameterError(where, problem, "Keep the input elsewhere, such as in data/source.")]
    return []


def command(args: Namespace) -> None:
    """`segline check`: repairs what a killed DVC left behind, then raises all problems of params.yaml at once.

    --cache also compares the objects in DVC's cache with their md5; --run-cache prefers runs of this machine to a lock
    whose outputs are in no cache.
    """
    root = Path.cwd()
    if root.resolve() == pipeline.ROOT:  # not in somebody else's DVC project
        for line in dvc_state.heal(root):
            console.say(line)
    busy = (args.cache or args.run_cache) and bool(dvc_state.processes(root))
    if busy:
        console.warn("DVC is running in this folder: its cache and dvc.lock are left alone")
    if args.cache and not busy:
        for line in restore.heal_cache(root):
            console.say(line)
    if errors := problems() or on_this_machine():
        raise combined(params.FILE, errors)
    for doubt in [*doubts(), *reach.doubts(root)]:
        console.warn(doubt)
    if args.run_cache and not busy:
        for line in run_cache.prefer(root):
            console.say(line)
    console.say(f"{params.FILE}: valid")
