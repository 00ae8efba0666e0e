"""A training that starts from the model of an earlier one: the same network, for other classes, bands or sizes.

params.yaml names the file by path and sha256. DVC tracks these two and not the file, so the file is verified before
anything in it is parsed. The model file records the hash, not the path.

Which entries of a tensor belong to a class or a band is found by building the network for one more of them: a side
that grows by f has f consecutive entries for each, which is how PixelShuffle and PixelUnshuffle order theirs. Another
module may order those of bands otherwise (SpaceToDepth of timm takes all bands in turn): see `_are_consecutive`.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from segline.core import params, pipeline, plugins, untrusted
from segline.core.errors import IntegrityError, ParameterError
from segline.dataset.preparation import Bands, Preparation
from segline.model import checkpoint, output_head

WHERE = f"{params.FILE}: train.start_from"
FREE = ("weights", "weights_sha256", "dropout")  # parameters of networks on which no tensor depends
COLOURS = ("red", "green", "blue")
SHOWN = 5

Sides = dict[int, int]  # side of a tensor -> consecutive entries for each class, or for each band
Mixture = list[dict[int, float]]  # for each band: the earlier ones whose weights it takes, and the factor of each


class Section(params.Section):
    """A model file from the train stage, and its sha256."""

    model: str = Field(min_length=1)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


StartFrom = Annotated[Section | None, params.expecting("null, or {model: FILE, sha256: 64 hexadecimal digits}")]


@dataclass(frozen=True)
class Earlier:
    """The model to start from: its file, its weights on the CPU and its description."""

    path: str
    weights: dict[str, Tensor]
    description: checkpoint.Description


def read(section: Section | None, document: params.Document) -> Earlier | None:
    """The model that `train.start_from` names, if it names one.

    Raises ParameterError if the file is missing or an output, if its network is another than that of params.yaml, or if
    that one names weights as well; IntegrityError if the file has another hash or is not a model file.
    """
    if section is None:
        return None
    _require_lasting(section.model)
    _verify(section)
    network, description = checkpoint.read_named(Path(section.model))
    _require_same_network(section.model, description, document)
    return Earlier(section.model, network.state_dict(), description)


def load(network: nn.Module, earlier: Earlier, model: checkpoint.Description) -> list[str]:
    """Gives `network`, drawn anew for `model`, the earlier weights; returns what was done, line by line.

    Rows of the head are taken over by the names of their classes, those of other classes stay as they were drawn. The
    weights of bands that both have are taken over; those of a new band become 0, so that the network first answers as
    the earlier one did. Buffers that depend on the bands, such as the scaling in an encoder, stay those of `network`.
    All bands are drawn anew if they differ and the network's order of their entries is not known.
    """
    there = earlier.description
    rows = _shared_rows(there, model)
    mixture = _mixture(there.preparation.bands, model.preparation.bands)
    by_class, by_band = _growth(model, outputs=1), _growth(model, channels=1)
    learned = {name for name, _ in network.named_parameters()}
    if mixture != _unchanged(there.preparation.bands) and not _are_consecutive(network, by_band, learned):
        mixture = [{} for _ in mixture]
    drawn = []
    for name, own in network.state_dict().items():
        bands = by_band.get(name, {})
        if bands and name not in learned:
            continue
        old = earlier.weights.get(name)
        new = None if old is None else _placed(own, _mixed(old, bands, mixture), by_class.get(name, {}), rows)
        if new is None:
            drawn.append(name)
        else:
            own.copy_(new)
    return [_about_classes(earlier, model), *_about_inputs(there, model, mixture), *_about_drawn(drawn)]


def _require_lasting(path: str) -> None:
    """Raises ParameterError for a file that DVC removes before the stage runs."""
    place = Path(path).parent.resolve() / Path(path).name  # the file may be a link into DVC's cache
    for output in pipeline.outputs():
        if place.is_relative_to(output.absolute()):
            problem = f"{path} is what the stages write, so DVC would remove it first"
            remedy = f"Copy it to data/weights/, such as `cp {path} data/weights/first.safetensors`, and name the copy."
            raise ParameterError(f"{WHERE}.model", problem, remedy)


def _verify(section: Section) -> None:
    """Raises unless the file has the hash."""
    try:
        with untrusted.opened(Path(section.model), checkpoint.MAX_BYTES) as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        remedy = "Put the model file there, or write null to start anew."
        raise ParameterError(f"{WHERE}.model", f"{section.model}: {untrusted.problem(error)}", remedy) from None
    if actual != section.sha256:
        remedy = f"Use the file with that hash, or write the hash of this one into {WHERE}.sha256."
        raise IntegrityError(section.model, f"sha256 expected {section.sha256}, got {actual}", remedy)


def _require_same_network(path: str, there: checkpoint.Description, document: params.Document) -> None:
    name = params.text(document, "model.name")
    anew = "or write null for train.start_from"
    if name != there.network:
        problem = f"{name}, but {path} has the network {there.network}"
        raise ParameterError(f"{params.FILE}: model.name", problem, f"Write {there.network}, {anew}.")
    module = plugins.choose("segline.networks", name, key="model.name")
    here = params.section(document, f"model.{name}", module.Section).model_dump()
    if here.get("weights"):
        problem = f"names a file, and model.{name}.weights another"
        raise ParameterError(WHERE, problem, f'Keep one of them: write "" for the weights, {anew}.')
    its = module.Section.model_validate(there.parameters).model_dump()
    keys = [key for key in here if key not in FREE and here[key] != its[key]]
    if keys:
        ours, theirs = (", ".join(f"{key} {values[key]}" for key in keys) for values in (here, its))
        problem = f"{ours}, but the network of {path} has {theirs}"
        raise ParameterError(f"{params.FILE}: model.{name}", problem, f"Write its values, {anew}.")


def _growth(model: checkpoint.Description, channels: int = 0, outputs: int = 0) -> dict[str, Sides]:
    """The sides of each tensor that grow with one more channel, or with one more output."""
    base, grown = _shapes(model), _shapes(model, channels, outputs)
    found = {}
    for name, shape in base.items():
        sizes = enumerate(zip(shape, grown.get(name, shape), strict=True))
        if sides := {side: larger - size for side, (size, larger) in sizes if larger > size}:
            found[name] = sides
    return found


def _are_consecutive(network: nn.Module, by_band: dict[str, Sides], learned: set[str]) -> bool:
    """Whether the entries of a band are known to follow one another: there is one, or PixelUnshuffle orders them."""
    single = all(entries == 1 for name in by_band.keys() & learned for entries in by_band[name].values())
    return single or any(isinstance(module, nn.PixelUnshuffle) for module in network.modules())


def _shapes(model: checkpoint.Description, channels: int = 0, outputs: int = 0) -> dict[str, torch.Size]:
    """Shapes of the network's tensors, with that many more channels and outputs than `model` has."""
    module = plugins.choose("segline.networks", model.network, key="model.name")
    section = module.Section.model_validate(model.parameters)
    outputs += output_head.outputs(model.head, len(model.classes))
    with torch.device("meta"):
        built = module.build(section, model.channels + channels, outputs)
    return {name: tensor.shape for name, tensor in built.state_dict().items()}


def _names(model: checkpoint.Description) -> list[str]:
    """The class of each output of the network."""
    names = [label.name for label in model.classes]
    return names if model.head == "softmax" else names[1:]


def _shared_rows(there: checkpoint.Description, here: checkpoint.Description) -> dict[int, int]:
    """Output of the new network -> output of the earlier one for the same class. None if their heads differ."""
    if there.head != here.head:
        return {}
    known = {name: row for row, name in enumerate(_names(there))}
    return {row: known[name] for row, name in enumerate(_names(here)) if name in known}


def _mixture(there: Bands, here: Bands) -> Mixture:
    """What each band takes over. Numbers are compared if both have numbers; the first three of a list of bands are
    otherwise red, green and blue, as the report shows them. Gray is their mean, and a single band another single one.
    """
    if isinstance(there, tuple) and isinstance(here, tuple):
        return [{there.index(band): 1.0} if band in there else {} for band in here]
    old, new = len(_labels(there)), len(_labels(here))
    colours = range(len(COLOURS))
    if old == 1 < new:
        return [{0: 1 / len(colours)} if new >= len(colours) and band in colours else {} for band in range(new)]
    if new == 1 < old:
        return [dict.fromkeys(colours, 1.0) if old >= len(colours) else {}]
    return [{band: 1.0} if band in colours and band < old else {} for band in range(new)]


def _unchanged(bands: Bands) -> Mixture:
    """Each band takes over the same one."""
    return [{band: 1.0} for band in range(len(_labels(bands)))]


def _mixed(old: Tensor, sides: Sides, mixture: Mixture) -> Tensor | None:
    """The earlier tensor for the new bands; None if it has none of them."""
    if sides and not any(mixture):
        return None
    for side, entries in sides.items():
        none = torch.zeros_like(old.narrow(side, 0, entries))
        sums = [
            sum((factor * old.narrow(side, entries * band, entries) for band, factor in taken.items()), none)
            for taken in mixture
        ]
        old = torch.cat(sums, dim=side)
    return old


def _placed(own: Tensor, old: Tensor | None, sides: Sides, rows: dict[int, int]) -> Tensor | None:
    """The new tensor, with the entries of shared classes from the earlier one; None if nothing can be taken over."""
    if old is None or (sides and not rows):
        return None
    places = [torch.arange(size) for size in own.shape]
    for side, entries in sides.items():
        old = old.index_select(side, _entries(rows.values(), entries))
        places[side] = _entries(rows, entries)
    if old.shape != tuple(map(len, places)):
        return None
    placed = own.clone()
    if sides:
        placed[torch.meshgrid(*places, indexing="ij")] = old.to(own.device)
        return placed
    return old


def _entries(rows: Iterable[int], count: int) -> Tensor:
    """Places of the `count` consecutive entries of each row, int64."""
    return torch.tensor([row * count + entry for row in rows for entry in range(count)])


def _labels(bands: Bands) -> list[str]:
    if isinstance(bands, tuple):
        return [str(band) for band in bands]
    return list(COLOURS) if bands == "rgb" else ["gray"]


def _about_classes(earlier: Earlier, model: checkpoint.Description) -> str:
    there = earlier.description
    shared, names = _shared_rows(there, model), _names(model)
    taken = [names[row] for row in shared]
    new = [name for row, name in enumerate(names) if row not in shared]
    left = [name for name in _names(there) if name not in taken]
    parts = {"classes taken over": taken, "drawn anew": new, "left out": left}
    if there.head != model.head:
        return f"starts from {earlier.path}: its head is {there.head}, so that of all classes is drawn anew"
    return f"starts from {earlier.path}: {_listed(parts)}"


def _about_inputs(there: checkpoint.Description, here: checkpoint.Description, mixture: Mixture) -> list[str]:
    """What is different about the inputs: the bands, the size, the scaling."""
    lines = []
    old, new = _labels(there.preparation.bands), _labels(here.preparation.bands)
    if old != new:
        taken = [_band(new[band], [old[each] for each in sources]) for band, sources in enumerate(mixture) if sources]
        zero = [new[band] for band, sources in enumerate(mixture) if not sources]
        used = {band for sources in mixture for band in sources}
        left = [label for band, label in enumerate(old) if band not in used]
        how = "starting at 0" if taken else "drawn anew"
        lines.append(f"bands {_listed({'taken over': taken, how: zero, 'left out': left})}")
    if (its := _size(there.preparation)) != (ours := _size(here.preparation)):
        lines.append(f"inputs of {ours}, there of {its}")
    if (there.mean, there.std) != (here.mean, here.std):
        lines.append(
            f"inputs scaled by mean {here.mean:g} and deviation {here.std:g}, there {there.mean:g} and {there.std:g}"
        )
    return lines


def _about_drawn(names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"weights drawn anew: {', '.join(names[:SHOWN])}{more}"]


def _band(name: str, sources: list[str]) -> str:
    return name if sources == [name] else f"{name} from {' + '.join(sources)}"


def _listed(parts: dict[str, list[str]]) -> str:
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)


def _size(preparation: Preparation) -> str:
    return f"{preparation.width}x{preparation.height}"
