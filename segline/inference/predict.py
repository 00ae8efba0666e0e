"""Image files -> a folder of predictions: threads decode and write while the network computes."""

import math
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from segline.core import atomic, parallel
from segline.core.errors import DataError, ParameterError, PipelineError, suggestion
from segline.inference import input_files, output_folder, test_time_augmentation
from segline.model import batches, checkpoint, device, randomness
from segline.monitoring import console
from segline.preprocessing import decoder_warnings, headers, images
from segline.sources.collecting import unsupported_formats

Uint8 = npt.NDArray[np.uint8]

MAX_SIDE = 8192


@dataclass(frozen=True)
class Request:
    """Images per batch, input sizes relative to the model's own, whether to average with the mirrored image, and the
    names of the classes whose objects are numbered."""

    batch_size: int
    scales: tuple[float, ...]
    flip: bool
    instances: tuple[str, ...]


@dataclass(frozen=True)
class Predictor:
    """A network on its device, and `Request` resolved for it: input sizes (height, width), batch size, mirroring."""

    network: nn.Module
    model: checkpoint.Description
    sizes: Sequence[tuple[int, int]]
    batch_size: int
    flip: bool


@dataclass(frozen=True)
class _Decoded:
    """An image uint8 (H, W, C), and the same at each input size."""

    source: input_files.InputImage
    image: Uint8
    inputs: list[Uint8]


_Predicted = tuple[_Decoded, Uint8]


def run(inputs: Sequence[Path], model: Path, out: Path, request: Request) -> None:
    """Predicts every image into the folder `out`. Raises DataError at the end if some images could not be predicted."""
    problems: list[PipelineError] = []
    for line in unsupported_formats.left_out(given for given in inputs if given.is_dir()):
        console.warn(line)
    sources = input_files.find(inputs, out, problems)
    total = len(sources) + len(problems)
    network, description = checkpoint.read_named(model)
    sizes = _sizes(description, request)
    counted = [_class_index(description, name) for name in request.instances]
    predictor = Predictor(network.to(device.pick()), description, sizes, request.batch_size, request.flip)
    randomness.deterministic(0)  # the same kernels as `evaluate`
    with output_folder.opened(out, description.classes, counted, [source.name for source in sources]) as results:
        problems += predict_all(predictor, sources, results)
    for problem in problems:
        console.warn(str(problem))
    if len(problems) == total:
        raise DataError(out, f"none of {total} images could be predicted", "They are named above.")
    kinds = ", ".join(output_folder.KINDS if counted else output_folder.KINDS[:2])
    console.say(f"predict: {total - len(problems)} of {total} images -> {out}: {kinds}, {output_folder.SUMMARY}")
    if problems:
        failed = f"{len(problems)} of {total} images could not be predicted"
        raise DataError(out, failed, "They are named above; all others were.")


def predict_all(
    predictor: Predictor, sources: Sequence[input_files.InputImage], results: output_folder.OutputFolder
) -> list[PipelineError]:
    """Adds each image to `results`; returns the problems of those that could not be predicted."""
    images.single_threaded()
    ahead = predictor.batch_size + parallel.count()
    lock = Lock()
    with (
        decoder_warnings.muffled() as heard,
        ThreadPoolExecutor(parallel.count() + 2) as pool,  # writers wait for the disk
    ):

        def decode(source: input_files.InputImage) -> _Decoded | PipelineError:
            try:
                pixels = _pixels(source.path, predictor.model.channels, heard, lock)
            except PipelineError as error:
                return error
            return _Decoded(source, pixels, [images.resize_image(pixels, *size) for size in predictor.sizes])

        def write(outcome: _Predicted | PipelineError) -> PipelineError | None:
            if isinstance(outcome, PipelineError):
                return outcome
            decoded, mask = outcome
            try:
                results.add(decoded.source, decoded.image, mask)
            except PipelineError as error:
                return error
            except OSError as error:
                if error.errno in atomic.FULL:  # as it would be for every image to come
                    raise
                problem = f"its results cannot be written: {error.filename}: {error.strerror or error}"
                return DataError(decoded.source.path, problem, "Rename the image, or name another folder with --out.")
            return None

        decoded = parallel.ahead(pool, decode, sources, ahead)
        predicted = _predictions(predictor, decoded)
        outcomes = console.progress(parallel.ahead(pool, write, predicted, ahead), len(sources), "predict")
        with device.within_memory("lower --batch-size, or give smaller images"):
            return [problem for problem in outcomes if problem]


def _sizes(model: checkpoint.Description, request: Request) -> list[tuple[int, int]]:
    """The input size (height, width) of each scale. Raises ParameterError for values out of range."""
    if request.batch_size < 1:
        raise ParameterError("--batch-size", f"expected 1 or more, got {request.batch_size}", "The default is 8.")
    height, width = model.preparation.height, model.preparation.width
    largest = MAX_SIDE / max(height, width)
    for scale in request.scales:
        if not (math.isfinite(scale) and 0 < scale <= largest):
            problem = f"expected numbers above 0 and up to {largest:.4g} for this model, got {scale}"
            raise ParameterError("--scales", problem, "1.0 is the size that it was trained at.")
    return [(max(1, round(height * scale)), max(1, round(width * scale))) for scale in request.scales]


def _class_index(model: checkpoint.Description, name: str) -> int:
    known = [label.name for label in model.classes]
    if name not in known:
        remedy = f"{suggestion(name, known, '')} The model knows: {', '.join(known)}."
        raise ParameterError("--instances", f"{name!r} is not a class of the model", remedy)
    return known.index(name)


def _pixels(path: Path, channels: int, heard: Callable[[], str], lock: Lock) -> Uint8:
    content = images.read(path)
    if not content.startswith(headers.JPEG):
        return images.decode_image(content, path, channels)
    with lock:  # libjpeg decodes damaged pixels too, and its warning names no file: one JPEG at a time
        heard()
        pixels = images.decode_image(content, path, channels)
        damage = decoder_warnings.damage_to(path, heard)
    if damage:
        raise damage
    return pixels


def _predictions(
    predictor: Predictor, decoded: Iterable[_Decoded | PipelineError]
) -> Iterator[_Predicted | PipelineError]:
    """Each image with its classes uint8 (H, W), batch by batch; problems are passed on at once."""
    batch: list[_Decoded] = []
    for item in decoded:
        if isinstance(item, PipelineError):
            yield item
            continue
        batch.append(item)
        if len(batch) == predictor.batch_size:
            yield from _batch(predictor, batch)
            batch = []
    if batch:
        yield from _batch(predictor, batch)


def _batch(predictor: Predictor, batch: Sequence[_Decoded]) -> Iterator[_Predicted]:
    model, target = predictor.model, next(predictor.network.parameters()).device
    views: list[Tensor] = []
    for pixels in zip(*(item.inputs for item in batch), strict=True):
        stacked = torch.from_numpy(np.stack(pixels)).to(target)
        inputs = batches.inputs(stacked, model.mean, model.std)
        views += test_time_augmentation.views(predictor.network, inputs, predictor.flip)
    for row, item in enumerate(batch):
        yield item, test_time_augmentation.classes_at([view[row] for view in views], *item.image.shape[:2])


def command(args: Namespace) -> None:
    """`segline predict`."""
    instances = tuple(dict.fromkeys(args.instances))
    request = Request(args.batch_size, tuple(args.scales), args.flip, instances)
    run(args.inputs, args.model, args.out, request)
