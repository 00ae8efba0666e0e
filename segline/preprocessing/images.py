"""Files -> bytes, and arrays -> arrays of another size, and PNG. `image_file` and `masks` decode.

Images are uint8 (H, W, C), RGB, never BGR; masks are (H, W) of unsigned integers.
"""

import hashlib
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from segline.core import atomic, untrusted
from segline.core.errors import DataError, IntegrityError
from segline.dataset.raw import FORMATS
from segline.preprocessing import tiff

MAX_BYTES = 1 << 28
_MOST_CHANNELS = 4  # that OpenCV averages at once

Uint8 = npt.NDArray[np.uint8]
Value = TypeVar("Value", bound=np.unsignedinteger[Any])


def read(path: Path) -> bytes:
    """The content of a regular file of at most 256 MiB; never waits on a pipe or a device. Raises DataError.

    Links are followed: DVC may link data to its cache. Hash and decode this one buffer: both then see the same bytes.
    """
    try:
        return untrusted.read(path, MAX_BYTES)
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> DataError:
    """The error for a file that cannot be opened or read."""
    remedy = "Check the file and its permissions."
    if isinstance(error, FileNotFoundError):
        is_link = path.is_symlink()
        remedy = (
            "Put back what it leads to, or remove it." if is_link else "Put it back, or run the download stage again."
        )
    return DataError(path, untrusted.problem(error), remedy)


def read_listed(folder: Path, name: str, sha256: str, listed_in: str) -> tuple[Path, bytes]:
    """Path and content of the file `name` in `folder`. Raises IntegrityError unless it has that hash; see `read`."""
    path = listed_path(folder, name)
    content = read(path)
    _require_hash(path, hashlib.sha256(content).hexdigest(), sha256, listed_in)
    return path, content


def listed_source(
    folder: Path, name: str, sha256: str, listed_in: str, *, verify: bool = True
) -> tuple[Path, bytes | Path]:
    """As `read_listed`; but of a TIFF, which may be larger than memory, the path instead of the content.

    Without `verify` the hash of a TIFF is not compared again.
    """
    path = listed_path(folder, name)
    if path.suffix.lower() not in FORMATS["TIFF"]:
        return read_listed(folder, name, sha256, listed_in)
    if verify:
        try:
            with untrusted.opened(path, tiff.MAX_BYTES) as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(path, error) from None
        _require_hash(path, digest, sha256, listed_in)
    return path, path


def listed_path(folder: Path, name: str) -> Path:
    """The path of a listed file. Raises IntegrityError if it leads out of `folder`."""
    if name.startswith("/") or ".." in name.split("/"):
        remedy = "Correct the names in the source, then run download."
        raise IntegrityError(folder / name, "leads out of the data set", remedy)
    return folder / name


def _require_hash(path: Path, actual: str, expected: str, listed_in: str) -> None:
    if actual != expected:
        problem = f"sha256 {actual[:12]}..., expected {expected[:12]}... ({listed_in})"
        raise IntegrityError(path, problem, "It changed since the download: dvc repro -f download restores it.")


def resize_image(image_hwc: Uint8, height: int, width: int) -> Uint8:
    """The image at (height, width): by area averaging if neither side grows, otherwise bilinear."""
    old_height, old_width, channels = image_hwc.shape
    if (old_height, old_width) == (height, width):
        return image_hwc
    shrinks = height <= old_height and width <= old_width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR_EXACT
    if channels > _MOST_CHANNELS:
        parts = np.split(image_hwc, range(_MOST_CHANNELS, channels, _MOST_CHANNELS), axis=2)
        return np.concatenate([resize_image(part, height, width) for part in parts], axis=2)
    resized = cv2.resize(np.ascontiguousarray(image_hwc), (width, height), interpolation=method)
    return np.asarray(resized, np.uint8).reshape(height, width, channels)


def resize_mask(mask: npt.NDArray[Value], height: int, width: int) -> npt.NDArray[Value]:
    """The mask at (height, width), by nearest neighbour: no value is new."""
    if mask.shape == (height, width):
        return mask
    values: Any = mask.view(np.int32) if mask.dtype == np.uint32 else mask  # OpenCV 4 has no uint32
    resized = cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized).view(mask.dtype)


def write_png(path: Path, pixels: Uint8) -> None:
    """Writes uint8 (H, W), (H, W, 1) or (H, W, 3) RGB; equal pixels give equal bytes."""
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    _, content = cv2.imencode(".png", ordered)
    with atomic.file(path) as temporary:
        temporary.write_bytes(content.tobytes())


def single_threaded() -> None:
    """From now on OpenCV uses only the calling thread: callers run one image per thread instead."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
