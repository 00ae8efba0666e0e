"""The content of image files: bounded, and equal to what the data set lists."""

import hashlib
from pathlib import Path

from segline.core import untrusted
from segline.core.errors import DataError, IntegrityError
from segline.dataset.raw import FORMATS
from segline.preprocessing.image_files import tiff

MAX_BYTES = 1 << 28


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
