"""A trained model -> an ONNX file that needs no code of ours: an image of any size in, the class of each pixel out.

The file is kept only if onnxruntime computes with it what torch does. The packages of the extra `onnx` are imported
inside functions: nothing else needs them.
"""

import hashlib
import io
import json
import os
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from segline.core import atomic, records
from segline.core.errors import IntegrityError, ParameterError, PipelineError
from segline.dataset import objects
from segline.inference import export_noise, export_scores, mlflow_model, onnx_graph
from segline.model import checkpoint, randomness
from segline.monitoring import console
from segline.preprocessing import images

SUFFIX = ".onnx"
INSTALL = "make setup EXTRAS=onnx"
LARGEST = 2**31 - 2**20  # bytes of weights: protobuf allows 2 GiB, and the graph needs some of them

CONTRACT = """\
Input `image`: the samples of one upright image, (height, width, bands), any size: RGB order, or gray as one band, or
all bands of a file; 8 bits as uint8, deeper ones as the type of the input says. Outputs: `classes`, uint8 (height,
width), the number of a pixel's class in the order of `classes` in the metadata; `logits`, float32 (classes, height,
width), divided by the `temperature` of the model, so that their softmax are its probabilities; that class has the
highest. If the model has learnt objects, the last of these classes are their borders: `parents` has the class as which
each counts, and before the division that class has the probability of both. Which bands, the scaling of samples,
resizing or padding and the way back are inside. An image is computed whole. What `preparation` says of alpha and Exif
turns is the caller's; pixels without data are taken as they are."""


@dataclass(frozen=True)
class Checks:
    """What was compared before the file was kept; `scores` are None where the evaluated split was not at hand."""

    noise: export_noise.Noise
    scores: export_scores.Scores | None


def run(model: Path, out: Path) -> None:
    """Exports the model file to `out` and prints what was compared. Raises PipelineError; see `write`."""
    if out.suffix != SUFFIX:
        problem = f"expected a name that ends in {SUFFIX}, got {out.name!r}"
        raise ParameterError("--out", problem, f"Write {out.with_suffix(SUFFIX)}")
    network, description = checkpoint.read_named(model)
    found = export_scores.at_hand(model, description)
    evaluated = None if isinstance(found, str) else found
    checks = write(out, network, description, hashlib.sha256(model.read_bytes()).hexdigest(), evaluated)
    size, noise, scores = out.stat().st_size / 1e6, checks.noise, checks.scores
    console.say(
        f"export: {model} -> {out}: {size:.1f} MB; on noise logits within {noise.logits:.1e} of torch's, "
        f"{noise.equal:.2%} of classes as predict's"
    )
    if scores and evaluated:
        console.say(
            f"export: on {scores.split} accuracy {scores.accuracy:.4f} and mIoU {scores.miou:.4f}, "
            f"against {evaluated.accuracy:.4f} and {evaluated.miou:.4f} in {evaluated.metrics} as it is"
        )
    else:
        console.say(f"export: compared on noise alone: {found}")


def write(
    path: Path,
    network: nn.Module,
    description: checkpoint.Description,
    sha256: str,
    evaluated: export_scores.Evaluated | None,
) -> Checks:
    """Writes `path` after onnxruntime has passed the checks, on the `evaluated` split too if there is one.

    `sha256` is that of the model file. Equal arguments give equal bytes on one machine. Raises PipelineError without
    the extra `onnx` or for a network that is beyond `LARGEST` or cannot be traced, and IntegrityError if a check fails;
    `path` then stays as it was.
    """
    onnx, onnxruntime = _packages()
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    if weights > LARGEST:
        problem = f"{weights} bytes of weights, and an ONNX file can contain {LARGEST}"
        raise PipelineError(path, problem, "Train a narrower network.")
    with atomic.file(path) as temporary:
        try:
            _trace(temporary, network, description)
        except Exception as error:  # torch raises many, and networks of other libraries their own
            reason = str(error).strip().split("\n", maxsplit=1)[0]
            remedy = "Nothing was written. A network with such operations cannot be exported."
            raise PipelineError(path, f"torch cannot export {description.network} ({reason})", remedy) from error
        content = onnx.load(temporary)
        _name_types(onnx, content, description)
        content.doc_string = CONTRACT
        temporary.write_bytes(content.SerializeToString())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # by default it also pins threads to cores
        options.log_severity_level = 4  # errors are reported here, in one line
        session = onnxruntime.InferenceSession(temporary, options, providers=["CPUExecutionProvider"])
        checks = _checked(path, session, network, description, evaluated)
        onnx.helper.set_model_props(content, _metadata(description, sha256, checks))
        temporary.write_bytes(content.SerializeToString())
    return checks


def _packages() -> tuple[ModuleType, ModuleType]:
    try:
        import onnx  # noqa: PLC0415
        import onnxruntime  # noqa: PLC0415
    except ImportError as error:
        problem = f"it needs packages that are not installed ({error})"
        raise PipelineError("segline export", problem, f"Install them: {INSTALL}") from None
    return onnx, onnxruntime


def _trace(path: Path, network: nn.Module, description: checkpoint.Description) -> None:
    """Quietly: torch warns of its newer exporter and of branches that a trace misses, and prints a graph that fails."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), _no_output():
        warnings.simplefilter("ignore")
        onnx_graph.trace(path, network, description)


@contextmanager
def _no_output() -> Iterator[None]:
    """What torch's C++ prints goes nowhere: it writes to file descriptor 1, which `redirect_stdout` leaves as it is."""
    own = os.dup(1)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(own, 1)
        os.close(own)


def _name_types(onnx: ModuleType, content: Any, description: checkpoint.Description) -> None:
    """Gives the input its type, which torch cannot trace for all, and `logits` the number of classes.

    The first step of the graph takes any type: it changes the order of axes, or the type.
    """
    kind = onnx.helper.np_dtype_to_tensor_dtype(onnx_graph.sample_type(description.preparation))
    content.graph.input[0].type.tensor_type.elem_type = kind
    content.graph.output[1].type.tensor_type.shape.dim[0].dim_value = len(description.classes)


def _checked(
    path: Path,
    session: Any,
    network: nn.Module,
    description: checkpoint.Description,
    evaluated: export_scores.Evaluated | None,
) -> Checks:
    randomness.deterministic(0)  # the same kernels as `evaluate`
    images.single_threaded()

    def run(image: export_noise.Array) -> tuple[export_noise.Array, export_noise.Array]:
        try:
            classes, logits = session.run(onnx_graph.OUTPUTS, {onnx_graph.INPUT: image})
        except Exception as error:  # onnxruntime raises no narrower class
            size = "x".join(map(str, image.shape))
            raise IntegrityError(path, f"onnxruntime fails on {size} ({error})", export_noise.REMEDY) from error
        return classes, logits

    noise = export_noise.check(path, run, network, description)
    if evaluated is None:
        return Checks(noise, None)
    form = description.preparation
    return Checks(noise, export_scores.check(path, lambda image: run(image)[0], evaluated, form))


def _metadata(description: checkpoint.Description, sha256: str, checks: Checks) -> dict[str, str]:
    return {
        "checks": json.dumps(records.rounded(asdict(checks))),
        "classes": json.dumps([{"name": label.name, "rgb": label.rgb} for label in description.classes]),
        "network": description.network,
        "parents": json.dumps(objects.parents(description.classes, description.objects).tolist()),
        "preparation": json.dumps(description.preparation.as_dict()),
        "model_sha256": sha256,
        "temperature": json.dumps(description.temperature),
    }


def command(args: Namespace) -> None:
    """`segline export`."""
    run(args.model, args.out)
    if args.log or args.register is not None:
        mlflow_model.log(args.out, args.register)
