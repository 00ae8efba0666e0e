"""Hugging Face's hub, or a server that speaks as it does (HF_ENDPOINT): names of weights -> a file in its cache.

Addresses, tokens, proxies, retries, resumed transfers, the cache and offline mode (HF_HUB_OFFLINE) are those of the
library huggingface_hub, of the extra `encoders`.
"""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from segline.core.errors import FetchError, ParameterError, suggestion
from segline.networks.smp import INSTALL, TIMM

FILES = ("model.safetensors", "pytorch_model.bin")  # the first that a repository has
_PLACE = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?(:(?P<file>[\w./-]+))?", re.ASCII)


@dataclass(frozen=True)
class Place:
    """Where weights are: a repository, one of its files or None, a title to store them by, the licence, and a branch,
    tag or commit, or None for the newest.
    """

    repository: str
    file: str | None
    title: str
    licence: str
    revision: str | None = None


def place(name: str) -> Place:
    """What `owner/repository[@revision][:file]` or a name of timm stands for. Raises ParameterError."""
    if "/" in name:
        if not (found := _PLACE.fullmatch(name)):
            raise ParameterError(name, "expected owner/repository, @REVISION or :FILE after it", "Check the name.")
        return Place(found["repository"], found["file"], name, "as the repository says", found["revision"])
    return _of_timm(name.removeprefix(TIMM))


def _of_timm(name: str) -> Place:
    models = package("timm").models
    if not models.is_model_pretrained(name):
        near = suggestion(name, models.list_pretrained(), "See docs/weights.md for the names.")
        raise ParameterError(name, "timm has no weights of that name", near)
    found = models.get_pretrained_cfg(name)
    if not found.hf_hub_id:
        raise ParameterError(name, "not on a hub", f"Fetch it from {found.url or 'its authors'} and name the file.")
    title = f"{found.architecture}.{found.tag}" if found.tag else found.architecture
    return Place(found.hf_hub_id, found.hf_hub_filename, title, found.license or "unknown")


def package(name: str) -> ModuleType:
    """A package of the extra. Raises ParameterError if it is missing."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError, OSError) as error:
        problem = f"needs the package {name} of the extra encoders, which cannot be imported here ({error})"
        raise ParameterError("segline weights", problem, f"Install it: {INSTALL}.") from None


def fetch(place: Place, most: int) -> Path:
    """The file in the hub's cache, fetched if it is not there: whole or not at all. Raises FetchError, also for a file
    of more than `most` bytes.
    """
    hub = package("huggingface_hub")
    hub.logging.set_verbosity_error()  # it would warn of every retry
    for file in [place.file] if place.file else FILES:
        try:
            size = hub.hf_hub_download(place.repository, file, revision=place.revision, dry_run=True).file_size
            if size is None or size <= most:
                return Path(hub.hf_hub_download(place.repository, file, revision=place.revision))
        except Exception as error:  # noqa: BLE001 - it raises errors of its own, of HTTP and of the system
            if place.file or not _is_absent(hub, error):
                raise _failed(hub, place, file, error) from None
            continue
        raise _refused(hub, place, f"{file} has {size:,} bytes, expected at most {most:,}", "Name another.")
    if hub.constants.is_offline_mode():
        raise _refused(hub, place, "not in the cache", "Unset HF_HUB_OFFLINE to fetch it once.")
    at = f"@{place.revision}" if place.revision else ""
    remedy = f"Name one of its files: segline weights {place.repository}{at}:FILE"
    raise _refused(hub, place, f"has neither {' nor '.join(FILES)}", f"{remedy}{_there(hub, place)}.")


def _is_absent(hub: ModuleType, error: Exception) -> bool:
    """Whether another file may still be had: this one is not in the repository, or is not in the cache of a machine
    without a network.
    """
    offline = isinstance(error.__cause__, hub.errors.OfflineModeIsEnabled)
    return isinstance(error, hub.errors.RemoteEntryNotFoundError) or offline


def _there(hub: ModuleType, place: Place) -> str:
    """Its files of weights, for the end of a sentence; nothing if the hub does not say."""
    try:
        files = hub.HfApi(endpoint=hub.constants.ENDPOINT).list_repo_files(place.repository, revision=place.revision)
    except Exception:  # noqa: BLE001 - it only adds to a message
        return ""
    fitting = [file for file in files if file.endswith((".safetensors", ".bin", ".pth", ".pt"))]
    return f", such as {', '.join(fitting[:5])}" if fitting else "; it has none that can be used"


def _refused(hub: ModuleType, place: Place, problem: str, remedy: str) -> FetchError:
    return FetchError(f"{hub.constants.ENDPOINT}/{place.repository}", problem, remedy)


def _failed(hub: ModuleType, place: Place, file: str, error: Exception) -> FetchError:
    """The error of the library in one line. That a file is not in the cache has a cause: why it was not fetched."""
    errors = hub.errors
    cause: Any = (error.__cause__ or error) if isinstance(error, errors.LocalEntryNotFoundError) else error
    log_in = "log in (`hf auth login`) or set HF_TOKEN"
    network = "Check the network, the proxy and HF_ENDPOINT; or name a file that you have in params.yaml."
    if isinstance(cause, errors.RemoteEntryNotFoundError):
        return _refused(hub, place, f"has no file {file}", f"Check the name{_there(hub, place)}.")
    said: dict[type[Exception], tuple[str, str]] = {  # the first that fits: a gated repository is one not found, too
        errors.GatedRepoError: ("asks for consent to its terms", f"Give it on its page, then {log_in}."),
        errors.RepositoryNotFoundError: ("no such repository, or a private one", f"Check the name, or {log_in}."),
        errors.RevisionNotFoundError: (f"has no branch, tag or commit {place.revision}", "Check the name."),
        errors.FileMetadataError: ("the answer is not that of a hub", network),
        errors.OfflineModeIsEnabled: (f"{file} is not in the cache", "Unset HF_HUB_OFFLINE to fetch it once."),
    }
    if found := next((lines for kind, lines in said.items() if isinstance(cause, kind)), None):
        return _refused(hub, place, *found)
    if isinstance(cause, errors.HfHubHTTPError):
        problem = f"{file}: HTTP {cause.response.status_code} {cause.response.reason_phrase}".strip()
        return _refused(hub, place, problem, network)
    reason = next(iter(str(cause).splitlines()), "") or type(cause).__name__
    return _refused(hub, place, f"{file} did not arrive ({reason.rstrip('.')})", network)
