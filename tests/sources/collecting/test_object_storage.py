"""Objects of a real store, OpenStack Swift with its S3 API, as the input of the download stage."""

import _thread
import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec.asyn
import pytest
import yaml

from segline.commands import check
from segline.core.errors import FetchError, ParameterError, PipelineError, Problems
from segline.sources.collecting import object_storage
from stages import download
from tests import folders, object_store, servers
from tests.contract.closure import ROOT
from tests.object_store import Store
from tests.stages import test_download

pytestmark = pytest.mark.slow
MINE = "sets/my s\u00e9t"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[Store]:
    with object_store.running(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def project(store, tmp_path, monkeypatch) -> dict[str, Any]:
    """A folder with a data set and raw data of an earlier run, and the keys to the store; the parameters."""
    monkeypatch.chdir(tmp_path)
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    for split in ("train", "val", "test"):
        folders.pairs(Path(MINE), f"images/{split}/{{}}.jpg", f"masks/{split}/{{}}.png", [f"{split} 1", f"{split} 2"])
    document: dict[str, Any] = yaml.safe_load((ROOT / "presets/folder.yaml").read_text(encoding="utf-8"))
    document["data"]["folder"]["void"] = {"value": 2, "rgb": [9, 9, 9]}
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/earlier.txt").write_text("earlier", encoding="utf-8")
    return document


def fetch(url: str) -> dict[str, bytes]:
    """What the stage leaves in data, by path."""
    download.main(["--input", url, "--raw", "data/raw"])
    return test_download.snapshot()


def refused(url: str) -> PipelineError:
    """Why the stage fails; what an earlier run left is as it was, and nothing else is there."""
    with pytest.raises(PipelineError) as caught:
        fetch(url)

    assert {"data/raw/earlier.txt": b"earlier"} == test_download.snapshot()
    assert [Path("data/raw")] == list(Path("data").iterdir())
    return caught.value


@pytest.mark.usefixtures("project")
def test_objects_give_the_data_set_that_the_same_folder_gives(store):
    store.put_folder(Path(MINE), MINE)
    for marker in ("", "images/", "masks/val/"):  # what a store's web page writes for a new folder
        store.put(f"{MINE}/{marker}")
    fetched = fetch(f"s3://{MINE}")

    assert fetch(MINE) == fetched
    assert 13 == len(fetched)
    assert [Path("data/raw")] == list(Path("data").iterdir())


@pytest.mark.usefixtures("project")
def test_a_whole_bucket_may_be_the_input(store):
    store.put_folder(Path(MINE), "a-bucket")

    assert 13 == len(fetch("s3://a-bucket"))


@pytest.mark.usefixtures("store")
def test_a_single_object_may_be_the_input(store, project):
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in test_download.FILES.items()]
    store.put("files/lists/manifest.sha256", "".join(lines).encode())
    test_download.pack(test_download.FILES)
    section = {"source": "camvid", "camvid": {"url": "archive.tar.gz", "splits": ["val"]}}
    Path("params.yaml").write_text(yaml.safe_dump({"data": section}), encoding="utf-8")

    assert "data/raw/val/images/0016E5_07959.png" in fetch("s3://files/lists/manifest.sha256")


@pytest.mark.usefixtures("project")
def test_what_a_source_refuses_is_named_by_its_url(store):
    Path(MINE, "masks/val/val 2.png").unlink()
    Path(MINE, "masks/test/test 1.png").unlink()
    store.put_folder(Path(MINE), "faulty/set")
    error = refused("s3://faulty/set")

    assert isinstance(error, Problems)
    assert ".input" not in str(error)
    assert "s3://faulty/set/" in str(error)


NAMES = {
    "dots/../../x": "s3://names/dots/../../x: a name with an empty part, . or .., which would lead elsewhere. ",
    "dot/./x": "s3://names/dot/./x: a name with an empty part, . or ..",
    "root//etc/x": "s3://names/root//etc/x: a name with an empty part, . or ..",
    "filled/": "s3://names/filled/: a name with an empty part, . or ..",
    "line/a\nb": r"s3://names/line/a b: a name with unprintable characters: 'a\nb'. ",
    "escape/\x1b[2J": r"s3://names/escape/\x1b[2J: a name with unprintable characters",
    f"long/{'a' * 256}": "a name with a part of more than 255 bytes. ",
    "version/a?versionId=1": "a name with ?versionId=, which asks for a version of an object. ",
    "case/A.png case/a.png": "s3://names/case/a.png: differs from 'A.png' only in case or Unicode form, ",
    "cases/A/1.png cases/a/2.png": "s3://names/cases/a: differs from 'A' only in case or Unicode form, ",
    "form/\u00e9 form/e\u0301": r"differs from 'e\u0301' only in case or Unicode form, ",
    "both/a both/a/b": "s3://names/both/a: an object and a folder, with 'a/b'. ",
    "top top/b": "s3://names/top: an object and a folder, with 'b'. ",
}


@pytest.mark.parametrize("keys", NAMES, ids=ascii)
def test_names_that_are_none_of_files_are_refused(store, project, keys):
    for key in keys.split(" "):
        store.put(f"names/{key}", b"x")
    error = refused(f"s3://names/{keys.partition('/')[0].split(' ')[0]}")

    assert NAMES[keys] in str(error)
    assert 1 == len(str(error).splitlines())


WHERE = "params.yaml: data.input: "
URLS = {
    "s3://nobody-has-this/set": "no bucket nobody-has-this for s3://nobody-has-this/set. ",
    "s3://sets/nothing": "no objects at s3://sets/nothing. ",
    "s3://sets/my": "no objects at s3://sets/my. ",
    "s3://sets/": "expected s3://bucket/folder or s3://bucket/file, got s3://sets/. ",
    "s3://sets//my": "expected s3://bucket/folder or s3://bucket/file, got s3://sets//my. ",
    "s3://sets/../my": "expected s3://bucket/folder or s3://bucket/file, got s3://sets/../my. ",
    "s3://sets/my?versionId=1": "expected s3://bucket/folder or s3://bucket/file, got ",
    "gs://sets/my": "expected a path or s3://bucket/folder, got gs://sets/my. ",
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_without_objects_is_one_line(store, project, url):
    store.put(f"{MINE}/x")

    expected = f"{WHERE}{URLS[url]}"
    assert str(refused(url)).startswith(expected)
    project["data"]["input"] = url
    Path("params.yaml").write_text(yaml.safe_dump(project), encoding="utf-8")
    errors = check.problems() or check.on_this_machine()
    assert [expected] == [str(error)[: len(expected)] for error in errors]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", "the store refuses s3://sets/x (Forbidden). Check AWS_ACCESS_KEY_ID "),
        ("AWS_ACCESS_KEY_ID", "stranger", "the store refuses s3://sets/x (Forbidden). Check AWS_ACCESS_KEY_ID "),
        ("AWS_PROFILE", "nobody", "no keys to s3://sets/x (The config profile (nobody) could not be found). Set AWS_"),
        ("AWS_SECRET_ACCESS_KEY", None, "no keys to s3://sets/x (Partial credentials found in env, missing: AWS_SECR"),
    ],
)
def test_wrong_keys_are_one_line(monkeypatch, variable, value, problem):
    monkeypatch.setenv(variable, value) if value else monkeypatch.delenv(variable)
    error = refused("s3://sets/x")

    assert isinstance(error, ParameterError)
    assert str(error).startswith(f"{WHERE}{problem}")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("kind", [servers.DOWN, servers.BROKEN, servers.LOG_IN])
def test_a_store_that_is_away_stops_download_and_not_the_check(monkeypatch, capsys, kind):
    with servers.outage(kind) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address}")
        error = refused("s3://sets/x")
        listed = check._in_object_storage("s3://sets/x")

    assert isinstance(error, FetchError)
    assert str(error).startswith("s3://sets/x: the store gives no usable answer (")
    assert ([], f"warning: {error}\n") == (listed, capsys.readouterr().err)


@pytest.mark.usefixtures("project")
def test_an_address_that_is_none_is_one_line(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")

    assert "s3://sets/x: the store gives no usable answer (Invalid endpoint: nonsense). " in str(refused("s3://sets/x"))


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("package", object_storage.PACKAGES)
def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)

    expected = f"{WHERE}s3://sets/x needs {package}, not installed. Run: make setup EXTRAS=s3"
    assert expected == str(refused("s3://sets/x"))


def large(store: Store) -> str:
    """The URL of one object of a megabyte."""
    store.put("large/one.bin", bytes(range(256)) * 4096)
    return "s3://large/one.bin"


def test_a_body_that_breaks_off_is_taken_up_where_it_broke(store, project, monkeypatch, tmp_path):
    url = large(store)
    with servers.bad_line(store.port, [300_000, 300_000]) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        with object_storage.local(url, tmp_path / "new") as place:
            assert ("one.bin", bytes(range(256)) * 4096) == (place.name, place.read_bytes())

    assert not (tmp_path / "new").exists()


def test_a_line_that_always_breaks_is_given_up(store, project, monkeypatch):
    url = large(store)
    with servers.bad_line(store.port, [100_000] * 99) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        error = refused(url)

    assert isinstance(error, FetchError)
    assert str(error).startswith(f"{url}: the store gives no usable answer (")


def test_a_body_that_falls_silent_is_given_up(store, project, monkeypatch):
    url = large(store)
    monkeypatch.setitem(object_storage.OPTIONS["config_kwargs"], "read_timeout", 0.5)
    with servers.bad_line(store.port, [100_000] * 99, holds=True) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        assert isinstance(refused(url), FetchError)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_nothing_is_left_of_a_download_that_is_stopped(store, project, number, status):
    url = large(store)
    with servers.bad_line(store.port, [100_000] * 99, holds=True) as port:
        environment = os.environ | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "stages.download", "--input", url, "--raw", "data/raw"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None and not Path("data/.raw.partial/.input/one.bin").exists():
                time.sleep(0.05)
            process.send_signal(number)
            _, said = process.communicate()

    assert (status, f"error: stopped by {'Ctrl-C' if status == 130 else 'SIGTERM'}\n") == (process.returncode, said)
    assert {"data/raw/earlier.txt": b"earlier"} == test_download.snapshot()
    assert [Path("data/raw")] == list(Path("data").iterdir())


def test_no_transfer_runs_on_after_ctrl_c(store, project, monkeypatch):
    """Transfers have a thread of their own, which would go on writing into a folder that is being removed."""
    url = large(store)
    with servers.bad_line(store.port, [100_000] * 99, holds=True) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        threading.Thread(target=interrupt, args=[Path("data/.raw.partial/.input/one.bin")], daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            fetch(url)
        running = asyncio.all_tasks(fsspec.asyn.get_loop())

    assert set() == running
    assert [Path("data/raw")] == list(Path("data").iterdir())


def interrupt(after: Path) -> None:
    """Ctrl-C, once there is that file."""
    while not after.exists():
        time.sleep(0.05)
    _thread.interrupt_main()


def test_objects_that_are_too_large_for_the_disk_are_not_fetched(store, project, monkeypatch):
    store.put("large/two.bin", b"x" * (1 << 20))
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))

    expected = "s3://large/two.bin: objects of 1 MiB, but 0 MiB are free on the disk of data/raw. Free some space."
    assert expected == str(refused("s3://large/two.bin"))


@pytest.mark.usefixtures("project")
def test_an_object_that_has_not_the_size_that_was_listed_is_refused(store, monkeypatch):
    store.put_folder(Path(MINE), "replaced/set")
    own = object_storage._objects

    def earlier(url: str, opened: Any) -> object_storage.Objects:
        listed = own(url, opened)
        return replace(listed, sizes=[size + 1 for size in listed.sizes])

    monkeypatch.setattr(object_storage, "_objects", earlier)
    error = refused("s3://replaced/set")
    assert (FetchError, "changed while it was read") == (type(error), error.problem)
