"""A URL -> a file in this user's cache. The only network access.

The cache lies outside of DVC's outputs, so a stage that runs again downloads nothing again. A download is bounded in
time and size (`Limits`) and appears whole or not at all. What the bytes should be is checked by who reads them.
"""

import fcntl
import hashlib
import http.client
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

import pooch
import requests
from tqdm import tqdm
from urllib3.exceptions import ReadTimeoutError

from segline.core import atomic
from segline.core.errors import FetchError

CACHE = "SEGLINE_CACHE"
CHUNK = 1 << 20  # pooch's own 1 KiB takes 5 times as long
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Limits:
    """Where a download is given up."""

    silence: float = 30.0  # seconds without a byte, also while connecting
    deadline: float = 3600.0  # seconds for all attempts: the bound on a server that drips
    size: int = 1 << 30  # bytes
    waits: tuple[float, ...] = (1.0, 4.0)  # seconds before each retry


LIMITS = Limits()


def fetch(source: str, key: str, cache: Path | None = None, limits: Limits = LIMITS) -> Path:
    """The local file that `source` stands for: a path or file:// URL itself, an http(s) URL downloaded at most once.

    `key` is the parameter that holds `source`; error messages name it. `cache` is $SEGLINE_CACHE or the cache folder
    of this system unless given. Raises FetchError.
    """
    remedy = f"Check the address and the network, or set {key} to a local copy of the archive."
    try:
        path = local(source)
    except ValueError as error:
        raise FetchError(source, str(error), remedy) from None
    if path:
        return _present(path, source, key)
    target = (cache or _cache()) / _name(source)
    if not target.exists():
        with _alone(target):
            if not target.exists():
                _download(source, target, limits, remedy)
    return target


def local(source: str) -> Path | None:
    """Where a path or file:// URL leads, whether it is there or not; None for http(s). Raises ValueError on others."""
    scheme, separator, _ = source.lower().partition("://")
    if separator and scheme in ("http", "https"):
        return None
    if separator and scheme != "file":
        raise ValueError("expected http://, https://, file:// or a path")
    path = unquote(urlsplit(source).path) if separator else source
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises on a home that is not there


def _present(path: Path, source: str, key: str) -> Path:
    if not path.is_file():
        found = f"{path} is not a regular file" if path.exists() else f"there is no file {path}"
        raise FetchError(source, found, f"Set {key} to the archive file or to its URL.")
    return path


def _cache() -> Path:
    return Path(os.environ.get(CACHE) or pooch.os_cache("segline")).expanduser()


def _name(url: str) -> str:
    """Unlike for each URL, and readable: its hash and its last part."""
    last = re.split("[?#]", url)[0].rstrip("/").rpartition("/")[2]
    return hashlib.sha256(url.encode()).hexdigest()[:16] + "-" + re.sub(r"[^A-Za-z0-9._-]", "_", last)[-64:]


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Lets one process at a time download to `target`. The lock falls with its process, so a kill leaves none."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = target.with_name(f".{target.name}.lock").open("wb")
    except OSError as error:
        found = f"cannot hold a download ({error.strerror})"
        raise FetchError(target.parent, found, f"Set {CACHE} to a folder that can.") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _Transfer:
    """One answer of a server on its way to `stream`; in pooch's eyes a file."""

    def __init__(self, url: str, stream: BinaryIO, limits: Limits, remedy: str) -> None:
        self.url, self.stream, self.limits, self.remedy = url, stream, limits, remedy
        self.bar = tqdm(unit="B", unit_scale=True, desc="download", leave=False, disable=not sys.stderr.isatty())
        self.responses: list[requests.Response] = []
        self.received = 0
        self.late = False

    def see(self, response: requests.Response, **_: Any) -> None:
        """Called by requests for each response, redirects included, before it is followed."""
        self.responses.append(response)
        if response.url.startswith("https:") and response.headers.get("location", "").lower().startswith("http:"):
            raise FetchError(self.url, "redirects from https to http", self.remedy)
        length = response.headers.get("content-length", "")
        self.bar.total = int(length) if length.isdecimal() else None

    def write(self, chunk: bytes) -> None:
        self.received += len(chunk)
        if self.received > self.limits.size:
            raise FetchError(self.url, f"sends more than {self.limits.size:,} bytes", self.remedy)
        self.stream.write(chunk)
        self.bar.update(len(chunk))

    def flush(self) -> None:
        """pooch asks for it after each chunk; closing the file does it."""

    def stop(self) -> None:
        """Ends a read that waits in another thread: a socket's own timeout starts anew with every byte."""
        self.late = True
        for response in self.responses[-1:]:
            with suppress(RuntimeError, ValueError):  # the answer came to its end meanwhile
                response.raw.shutdown()

    def close(self) -> None:
        self.bar.close()
        for response in self.responses:
            response.close()


def _download(url: str, target: Path, limits: Limits, remedy: str) -> None:
    end = time.monotonic() + limits.deadline
    with atomic.file(target) as partial:
        for wait in (*limits.waits, None):
            try:
                _attempt(url, partial, end, limits, remedy)
                break
            except (requests.RequestException, ValueError) as error:
                if wait is None or not _passing(error):
                    raise FetchError(url, _reason(error, limits), remedy) from None
                time.sleep(wait)
        with partial.open("rb") as stream:
            head = stream.read(32)
        if not head.startswith(GZIP):
            raise FetchError(url, f"sends something else than a .tar.gz archive (it starts with {head!r})", remedy)


def _attempt(url: str, partial: Path, end: float, limits: Limits, remedy: str) -> None:
    with partial.open("wb") as stream:
        transfer = _Transfer(url, stream, limits, remedy)
        download = pooch.HTTPDownloader(
            chunk_size=CHUNK,
            timeout=limits.silence,
            headers={"Accept-Encoding": "identity"},
            hooks={"response": transfer.see},
        )
        timer = threading.Timer(max(end - time.monotonic(), 0), transfer.stop)
        timer.daemon = True
        timer.start()
        try:
            download(url, transfer, None)
        except requests.RequestException:
            if not transfer.late:
                raise
        finally:
            timer.cancel()
            transfer.close()
        if transfer.late:
            raise FetchError(url, f"not finished after {limits.deadline:g} s", remedy)


def _status(error: requests.HTTPError) -> int:
    return 0 if error.response is None else error.response.status_code


def _silent(error: Exception) -> bool:
    """requests hides a timeout within the body in a ConnectionError."""
    cause = error.args[0] if error.args else None
    return isinstance(error, requests.Timeout) or isinstance(cause, ReadTimeoutError)


def _passing(error: Exception) -> bool:
    """True if a second attempt may find what the first did not: a server in trouble or a dropped connection."""
    if isinstance(error, requests.HTTPError):
        return _status(error) >= http.client.INTERNAL_SERVER_ERROR
    dropped = isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError)
    return dropped and not _silent(error) and not isinstance(error, requests.exceptions.SSLError)


def _reason(error: Exception, limits: Limits) -> str:
    if isinstance(error, requests.HTTPError):
        return f"HTTP {_status(error)} {http.client.responses.get(_status(error), '')}".strip()
    if _silent(error):
        return f"no byte for {limits.silence:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke before the end of the file"
    cause = getattr(error.args[0] if error.args else error, "reason", error)
    return f"no usable answer ({str(cause).rpartition(': ')[2]})"
