"""`segline weights`: the weights of an encoder, brought into data/weights/ for `model.<network>.weights`.

They come from a hub, or from a checkpoint on this disk that gets the names of timm.
"""

import hashlib
import re
from argparse import Namespace
from pathlib import Path

from safetensors.torch import save

from segline.commands import weights_hub, weights_renamed
from segline.core import atomic, params, untrusted
from segline.core.errors import ParameterError
from segline.monitoring import console
from segline.training import pretrained

FOLDER = Path("data/weights")  # git ignores it: params.yaml names a file there by its hash


def command(args: Namespace) -> None:
    """`segline weights NAME`, or `segline weights FILE --as NAME`; prints the two lines for params.yaml."""
    params.require_top_folder()
    target = renamed(Path(args.name), args.timm) if args.timm else fetched(args.name)
    with target.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    console.say(f"weights: {target.as_posix()}")
    console.say(f"weights_sha256: {digest}")


def fetched(name: str) -> Path:
    """The file in data/weights/ for a name of timm or `owner/repository[@revision][:file]`; fetched unless it is there.

    Raises ParameterError for a name that means nothing, FetchError if the hub does not give the file, IntegrityError
    if it is no table of tensors.
    """
    if Path(name).is_file():
        remedy = "Name it in params.yaml as it is; or give it timm's names with --as, such as --as resnet34."
        raise ParameterError(name, "a file, expected a name of timm or owner/repository", remedy)
    place = weights_hub.place(name)
    if there := next(
        (path for kind in (".safetensors", ".pth") if (path := _target(place.title, kind)).is_file()), None
    ):
        console.say(f"{there} is there already; remove it to fetch it again")
        pretrained.parse(str(there), _content(there))
        return there
    fetched = weights_hub.fetch(place, pretrained.MAX_BYTES)
    # What torch has pickled has many endings; params.yaml takes one.
    target = _target(place.title, ".safetensors" if fetched.suffix == ".safetensors" else ".pth")
    content = untrusted.read(fetched, pretrained.MAX_BYTES)
    pretrained.parse(str(target), content)
    _write(target, content)
    console.say(f"{fetched.name} of {place.repository} ({len(content):,} bytes, licence {place.licence})")
    return target


def renamed(path: Path, name: str) -> Path:
    """The file in data/weights/ with the tensors of a checkpoint under timm's names for this model. Raises
    ParameterError or IntegrityError, also if the two do not agree tensor by tensor.
    """
    content = _content(path)
    if path.suffix == ".safetensors":
        problem = "safetensors sorts tensors, so their order, by which they would get their names, is lost"
        raise ParameterError(path, problem, "Name the file that torch saved.")
    tensors = pretrained.parse(str(path), content)
    tensors, lines = weights_renamed.by_order(path, tensors, name)
    for line in lines:
        console.say(line)
    target = _target(name, ".safetensors")
    _write(target, save(tensors))
    return target


def _content(path: Path) -> bytes:
    try:
        return untrusted.read(path, pretrained.MAX_BYTES)
    except OSError as error:
        raise ParameterError(path, untrusted.problem(error), "Name or keep a file of weights there.") from None


def _target(title: str, kind: str) -> Path:
    return FOLDER / f"{re.sub(r'[^A-Za-z0-9._@-]+', '--', title)}{kind}"


def _write(target: Path, content: bytes) -> None:
    with atomic.file(target) as temporary:
        temporary.write_bytes(content)
