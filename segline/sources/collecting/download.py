"""A URL -> a file in this user's cache. The only network access.

The cache is outside of DVC's outputs, so a stage that reruns does not download again. A download is bounded in time
and size (`Limits`) and appears whole or not at all. Whoever reads the bytes checks them.
"""

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
from typing import Any, BinaryIO, Self
from urllib.parse import unquote, urlsplit

import platformdirs
import requests
from filelock import FileLock
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3 import Retry
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from segline.core import atomic
from segline.core.errors import FetchError

CACHE = "SEGLINE_CACHE"
CHUNK = 1 << 20
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Limits:
    """When a download is given up."""

    silence: float = 30.0  # seconds without a byte; all attempts to connect take no longer than this together
    deadline: float = 3600.0  # seconds for all attempts: the bound on a server that drips
    size: int = 1 << 30  # bytes
    retries: int = 2  # after a failed connection, a status 5xx or a body that broke midway
    pause: float = 2.0  # seconds before a retry


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
        problem = f"{path} is not a regular file" if path.exists() else f"there is no file {path}"
        raise FetchError(source, problem, f"Set {key} to the archive file or to its URL.")
    return path


def _cache() -> Path:
    return Path(os.environ.get(CACHE) or platformdirs.user_cache_dir("segline")).expanduser()


def _name(url: str) -> str:
    """Unlike for each URL, and readable: its hash and its last part."""
    last = re.split("[?#]", url)[0].rstrip("/").rpartition("/")[2]
    return hashlib.sha256(url.encode()).hexdigest()[:16] + "-" + re.sub(r"[^A-Za-z0-9._-]", "_", last)[-64:]


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Lets one process at a time download to `target`. The system releases the lock of a process that is killed."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f".{target.name}.lock")).acquire()
    except OSError as error:
        problem = f"cannot store a download ({error.strerror})"
        raise FetchError(target.parent, problem, f"Set {CACHE} to a folder that can.") from None
    with lock:
        yield


class _Retry(Retry):
    """Retries connecting and a status 5xx, and reads no body of an answer that it drops: it might never end."""

    def increment(self, *args: Any, **kwargs: Any) -> Self:
        if kwargs.get("response") is not None:
            kwargs["response"].close()
        return super().increment(*args, **kwargs)


class _Transfer:
    """One answer of a server on its way to `stream`."""

    def __init__(self, url: str, stream: BinaryIO, limits: Limits, remedy: str) -> None:
        self.url, self.stream, self.limits, self.remedy = url, stream, limits, remedy
        self.responses: list[requests.Response] = []
        self.late = False

    def see(self, response: requests.Response, **_: Any) -> None:
        """Called by requests for each response, redirects included, before it is followed."""
        self.responses.append(response)
        if response.url.startswith("https:") and response.headers.get("location", "").lower().startswith("http:"):
            raise FetchError(self.url, "redirects from https to http", self.remedy)
        self.require_time()

    def require_time(self) -> None:
        if self.late:
            raise FetchError(self.url, f"not finished after {self.limits.deadline:g} s", self.remedy)

    def receive(self, response: requests.Response) -> None:
        """Writes the body. Raises FetchError beyond the size allowed."""
        length = response.headers.get("content-length")
        bar = tqdm(unit="B", unit_scale=True, desc="download", leave=False, disable=not sys.stderr.isatty())
        with bar:
            bar.total = int(length) if length else None
            received = 0
            for chunk in response.iter_content(CHUNK):
                received += len(chunk)
                if received > self.limits.size:
                    raise FetchError(self.url, f"sends more than {self.limits.size:,} bytes", self.remedy)
                self.stream.write(chunk)
                bar.update(len(chunk))

    def stop(self) -> None:
        """Ends a read that waits in another thread: a socket's own timeout starts anew with every byte."""
        self.late = True
        for response in self.responses[-1:]:
            with suppress(RuntimeError, ValueError):  # the answer has ended meanwhile
                response.raw.shutdown()

    def close(self) -> None:
        for response in self.responses:
            response.close()


def _download(url: str, target: Path, limits: Limits, remedy: str) -> None:
    end = time.monotonic() + limits.deadline
    with atomic.file(target) as partial:
        for retries_left in reversed(range(limits.retries + 1)):
            try:
                _attempt(url, partial, end, limits, remedy)
                break
            except (requests.RequestException, ValueError) as error:
                if not retries_left or not _broke_midway(error):
                    raise FetchError(url, _reason(error, limits), remedy) from None
                time.sleep(limits.pause)
        with partial.open("rb") as stream:
            head = stream.read(32)
        if not head.startswith(GZIP):
            raise FetchError(url, f"sends something else than a .tar.gz archive (it starts with {head!r})", remedy)


def _attempt(url: str, partial: Path, end: float, limits: Limits, remedy: str) -> None:
    with partial.open("wb") as stream, _session(limits) as session:
        transfer = _Transfer(url, stream, limits, remedy)
        session.hooks["response"] = [transfer.see]
        timer = threading.Timer(max(end - time.monotonic(), 0), transfer.stop)
        timer.daemon = True
        timer.start()
        try:
            connecting = limits.silence / (limits.retries + 1)
            response = session.get(url, stream=True, timeout=(connecting, limits.silence))
            response.raise_for_status()
            transfer.receive(response)
        except requests.RequestException:
            if not transfer.late:
                raise
        finally:
            timer.cancel()
            transfer.close()
        transfer.require_time()


def _session(limits: Limits) -> requests.Session:
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"
    retry = _Retry(
        connect=limits.retries,
        status=limits.retries,
        read=False,  # a second wait for a silent server would double the first
        other=0,  # TLS
        status_forcelist=range(http.client.INTERNAL_SERVER_ERROR, 600),
        backoff_factor=limits.pause / 2,  # no pause before the first retry, then `pause`
        raise_on_status=False,
        respect_retry_after_header=False,  # it may ask for hours
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _cause(error: Exception) -> Any:
    """The error of urllib3 within one of requests."""
    return error.args[0] if error.args else None


def _broke_midway(error: Exception) -> bool:
    """True if the connection dropped after the request was sent."""
    return isinstance(error, requests.exceptions.ChunkedEncodingError) or isinstance(_cause(error), ProtocolError)


def _reason(error: Exception, limits: Limits) -> str:
    if isinstance(error, requests.HTTPError):
        status = 0 if error.response is None else error.response.status_code
        return f"HTTP {status} {http.client.responses.get(status, '')}".strip()
    if isinstance(error, requests.Timeout) or isinstance(_cause(error), ReadTimeoutError):
        return f"no byte for {limits.silence:g} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke before the end of the file"
    cause = getattr(_cause(error) or error, "reason", error)
    return f"no usable answer ({str(cause).rpartition(': ')[2]})"
