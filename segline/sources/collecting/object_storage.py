"""Objects below an s3:// URL -> a folder that is there for as long as a source reads it. Names are not trusted.

The store, its region and the keys to it are those of AWS's usual variables and files, as for DVC, which tracks the same
URL: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_PROFILE, ...
"""

import asyncio
import errno
import http.client
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from segline.core import atomic, params
from segline.core.errors import DataError, FetchError, ParameterError, PipelineError, Problems, combined
from segline.dataset.raw import name_key
from segline.monitoring import console

KEY = f"{params.FILE}: data.input"
SILENCE = 30.0  # seconds without a byte
LISTED = 600.0  # seconds for all names
AT_ONCE = 16  # objects on their way, each over a connection of its own
SHOWN = 20  # problems
PACKAGES = ("dvc_s3", "s3fs")
# What s3fs is given; its retries, of a body that breaks off, are added to botocore's, of a connection or a status 5xx.
OPTIONS: dict[str, Any] = {
    "skip_instance_cache": True,
    "use_listings_cache": False,
    "max_concurrency": 1,  # a large object is streamed: in parts at once, each would be in memory
    "config_kwargs": {
        "connect_timeout": SILENCE / 3,
        "read_timeout": SILENCE,
        "max_pool_connections": AT_ONCE,
        "retries": {"total_max_attempts": 3, "mode": "standard"},
    },
}
TRIES = 3  # of a body
_URL = re.compile(r"s3://[a-z0-9][a-z0-9._-]{1,62}(/[^/?#]+)*")
_PATH, _NAME = 1024, 255  # bytes: what S3 takes as a key, and file systems as a name
_VERSION = "?versionId="
_OF_THE_DISK = (*atomic.FULL, errno.EFBIG)


@dataclass(frozen=True)
class Objects:
    """What is to be fetched: keys with the bucket before them, their paths below the local folder, their bytes.

    A single object has the path ".".
    """

    keys: Sequence[str]
    paths: Sequence[str]
    sizes: Sequence[int]


def is_url(text: str) -> bool:
    """Whether `data.input` is no path, but a URL of any kind."""
    return "://" in text


def require_usable(url: str) -> None:
    """Raises ParameterError on a URL that cannot be one of objects, and if what reads them is not installed."""
    if not url.startswith("s3://"):
        raise ParameterError(KEY, f"expected a path or s3://bucket/folder, got {url}", "Copy the data to a folder.")
    if not _URL.fullmatch(url) or {".", ".."} & {*url.split("/")}:
        problem = f"expected s3://bucket/folder or s3://bucket/file, got {url}"
        raise ParameterError(KEY, problem, "Write it without a slash at the end, //, . and .. as names, ? and #.")
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        problem = f"{url} needs {' and '.join(missing)}, not installed"
        raise ParameterError(KEY, problem, "Run: make setup EXTRAS=s3")


def objects(url: str) -> Objects:
    """The objects at and below `url`, by one listing. Nothing is fetched.

    Raises ParameterError if there is no object, or if the user's keys may not read them, DataError with all names that
    cannot be names of files, and FetchError if the store does not answer.
    """
    require_usable(url)
    with _store(url) as store:
        return _objects(url, store)


@contextmanager
def local(place: Path | str, folder: Path) -> Iterator[Path]:
    """Yields `place` if it is a path; if it is a URL, what is there, fetched to the new `folder`, which is removed
    afterwards.

    It has the last name of the URL, as sources take their names from it. Raises what `objects` does; errors of the
    block name the URL in place of the local copy.
    """
    if isinstance(place, Path):
        yield place
        return
    require_usable(place)
    target = folder / PurePosixPath(place).name
    try:
        with _store(place) as store:
            _fetch(store, _objects(place, store), target)
        yield target
    except PipelineError as error:
        raise _naming(place, target, error) from None
    finally:
        atomic.remove(folder)


def _naming(url: str, target: Path, error: PipelineError) -> PipelineError:
    """The error as the user knows the place."""
    if isinstance(error, Problems):
        return Problems(_named(url, target, error.where), [_naming(url, target, each) for each in error.problems])
    return type(error)(*(_named(url, target, text) for text in (error.where, error.problem, error.remedy)))


def _named(url: str, target: Path, text: str) -> str:
    return text.replace(str(target), url)


@contextmanager
def _store(url: str) -> Iterator[Any]:
    """Yields fsspec's file system of the store, and turns what it raises into one line. No transfer outlives it."""
    import fsspec.asyn  # noqa: PLC0415 - with what follows half a second, which no local folder needs
    from aiohttp import ClientError  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    errors = BotoCoreError, ClientError, ResponseParserError, http.client.HTTPException
    try:
        store = fsspec.filesystem("s3", **OPTIONS)
        store.retries = TRIES
        try:
            yield store
        finally:
            fsspec.asyn.sync(store.loop, _end_transfers)
    except (OSError, LookupError, TypeError, ValueError, *errors) as error:  # an answer may lack a key
        if isinstance(error, OSError) and (error.errno in _OF_THE_DISK or error.filename is not None):
            raise
        raise _refused(url, error) from None


async def _end_transfers() -> None:
    """Ends what runs on in fsspec's thread after Ctrl-C or a failure, and would write into a folder that is removed."""
    running = asyncio.all_tasks() - {asyncio.current_task()}
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def _refused(url: str, error: Exception) -> PipelineError:
    said = " ".join(f"{getattr(error, 'strerror', None) or error}".split()).rstrip(".")
    if isinstance(error, FileNotFoundError):
        return FetchError(url, "changed while it was read", "Run again.")
    if isinstance(error, PermissionError):
        remedy = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), and that they may list and read."
        return ParameterError(KEY, f"the store refuses {url} ({said or 'access denied'})", remedy)
    if "Credentials" in type(error).__name__ or "Profile" in type(error).__name__:
        remedy = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        return ParameterError(KEY, f"no keys to {url} ({said})", remedy)
    if isinstance(error, TimeoutError):
        said = f"no answer for {SILENCE:g} s"
    return FetchError(url, f"the store gives no usable answer ({said})", "Check AWS_ENDPOINT_URL and the network.")


def _objects(url: str, store: Any) -> Objects:
    root = url.removeprefix("s3://")
    bucket = root.partition("/")[0]
    try:
        kind = store.info(root, timeout=SILENCE)["type"]
    except FileNotFoundError:
        raise _nothing(url, bucket, store) from None
    found = {name: int(info["size"]) for name, info in store.find(root, detail=True, timeout=LISTED).items()}
    if kind == "file" and found.keys() == {root}:
        return Objects([root], ["."], [found[root]])
    names = sorted(name for name, size in found.items() if size or not name.endswith("/"))  # folder markers
    paths = [name.removeprefix(f"{root}/") for name in names]
    if not names:
        raise _nothing(url, bucket, store)
    problems = list(_problems(url, paths))
    if kind == "file":
        problems = [_both(url, paths[0]), *problems]
    if (more := len(problems) - SHOWN) > 0:
        problems = [*problems[:SHOWN], DataError(url, f"{more} more such objects", "Rename or remove them.")]
    if problems:
        raise combined(url, problems)
    return Objects(names, paths, [found[name] for name in names])


def _nothing(url: str, bucket: str, store: Any) -> PipelineError:
    if not store.exists(bucket):
        return ParameterError(KEY, f"no bucket {bucket} for {url}", "Check its name, and AWS_ENDPOINT_URL.")
    return ParameterError(KEY, f"no objects at {url}", "Check the name; upper and lower case differ.")


def _problems(url: str, paths: Sequence[str]) -> Iterator[DataError]:
    """Names that would lead elsewhere, overwrite another, or be no names of files. The rest is left to sources."""
    spellings: dict[str, str] = {}
    taken = {*paths}
    for path in paths:
        if problem := _unusable(path):
            yield DataError(f"{url}/{path}", problem, "Rename or remove the object.")
            continue
        above = [str(each) for each in PurePosixPath(path).parents][-2::-1]
        if files := [each for each in above if each in taken]:
            yield _both(f"{url}/{files[0]}", path)
        for each in [*above, path]:
            if (other := spellings.setdefault(name_key(each), each)) != each:
                problem = f"differs from {other!a} only in case or Unicode form, which not every disk tells apart"
                yield DataError(f"{url}/{each}", problem, "Rename or remove one.")
                break


def _both(where: str, inside: str) -> DataError:
    return DataError(where, f"an object and a folder, with {inside!a}", "Rename or remove one: no disk has both.")


def _unusable(path: str) -> str | None:
    parts = path.split("/")
    if not path.isprintable():
        return f"a name with unprintable characters: {path!a}"
    if {"", ".", ".."} & {*parts}:
        return "a name with an empty part, . or .., which would lead elsewhere"
    if len(path.encode()) > _PATH or max(len(part.encode()) for part in parts) > _NAME:
        return f"a name with a part of more than {_NAME} bytes"
    if _VERSION in path:
        return f"a name with {_VERSION}, which asks for a version of an object"
    return None


def _fetch(store: Any, listed: Objects, target: Path) -> None:
    """Writes the objects at or below `target`. Raises DataError before the first byte if the disk has no space."""
    from fsspec.callbacks import TqdmCallback  # noqa: PLC0415

    target.parent.mkdir(parents=True)
    needed, free = sum(listed.sizes), shutil.disk_usage(target.parent).free
    if needed > free:
        problem = f"objects of {needed >> 20} MiB, but {free >> 20} MiB are free on the disk of data/raw"
        raise DataError(target, problem, "Free some space.")
    files = [target / path for path in listed.paths]
    for folder in {file.parent for file in files}:
        folder.mkdir(parents=True, exist_ok=True)
    bar = {"desc": "fetch", "unit": "object", "leave": False, "disable": not console.in_terminal()}
    with TqdmCallback(bar) as callback:
        store.get([*listed.keys], [os.fspath(file) for file in files], batch_size=AT_ONCE, callback=callback)
    for key, file, size in zip(listed.keys, files, listed.sizes, strict=True):
        if file.stat().st_size != size:
            raise FetchError(f"s3://{key}", "changed while it was read", "Run again.")
