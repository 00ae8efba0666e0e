"""An object store on 127.0.0.1 for tests: OpenStack Swift with its S3 API, of one disk and one copy of each object.

with running(folder) as store:
    store.put("bucket/folder/a.png", content)
"""

import getpass
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import fsspec
import pytest

PARTS = ("account", "container", "object", "proxy")
KEYS = {"AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing"}
COMMON = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/disks
mount_check = false
"""
OF_A_DISK = COMMON + "[pipeline:main]\npipeline = {part}-server\n[app:{part}-server]\nuse = egg:swift#{part}\n"
# Nobody listens on port 1: without memcached nothing is remembered, and each request sees what the last one did.
PROXY = (
    COMMON
    + """
[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
"""
)
SECRETS = """
[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
"""


class Store:
    """The S3 API at a port of 127.0.0.1. `environment` is what a user sets to reach it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.environment = KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        key, secret = KEYS.values()
        client = {"endpoint_url": self.environment["AWS_ENDPOINT_URL"]}
        options = {"key": key, "secret": secret, "client_kwargs": client, "use_listings_cache": False}
        self._client = fsspec.filesystem("s3", skip_instance_cache=True, **options)
        self._buckets: set[str] = set()

    def put(self, key: str, content: bytes = b"") -> None:
        """Stores an object under `bucket/key`, whatever its name, and makes the bucket if it is missing."""
        bucket, _, name = key.partition("/")
        if bucket not in self._buckets:
            self._client.mkdir(bucket)
            self._buckets.add(bucket)
        self._client.call_s3("put_object", Bucket=bucket, Key=name, Body=content)

    def put_folder(self, folder: Path, key: str) -> None:
        """Stores all files below a folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{key}/{path.relative_to(folder).as_posix()}", path.read_bytes())


@contextmanager
def running(folder: Path) -> Iterator[Store]:
    """Four servers that keep their files in `folder` and end with the block."""
    try:
        os.setxattr(folder, "user.test", b"")
    except OSError:
        reason = f"needs extended attributes at {folder}: set TMPDIR to a disk that has them"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with ExitStack() as sockets:
        free = [sockets.enter_context(socket.socket()) for _ in PARTS]
        for each in free:
            each.bind(("127.0.0.1", 0))
        ports = {part: each.getsockname()[1] for part, each in zip(PARTS, free, strict=True)}
    _configure(folder, ports)
    environment = {**os.environ, "SWIFT_DIR": str(folder)}
    with ExitStack() as servers, (folder / "log").open("wb") as log:
        for part in PARTS:
            command = [Path(sys.executable).with_name(f"swift-{part}-server"), folder / f"{part}.conf"]
            process = servers.enter_context(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
            servers.callback(process.terminate)
        for port in ports.values():
            _wait(port, folder / "log")
        yield Store(ports["proxy"])


def _configure(folder: Path, ports: dict[str, int]) -> None:
    from swift.common.ring import RingBuilder

    (folder / "disks/one").mkdir(parents=True)
    (folder / "swift.conf").write_text(SECRETS)
    for part, port in ports.items():
        values = {"part": part, "port": port, "folder": folder, "user": getpass.getuser()}
        (folder / f"{part}.conf").write_text((PROXY if part == "proxy" else OF_A_DISK).format(**values))
        if part != "proxy":
            ring = RingBuilder(part_power=0, replicas=1, min_part_hours=0)
            address = {"ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port}
            ring.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1, "device": "one", **address})
            ring.rebalance()
            ring.get_ring().save(str(folder / f"{part}.ring.gz"))


def _wait(port: int, log: Path) -> None:
    """Until somebody listens."""
    for _ in range(600):
        with closing(socket.socket()) as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"a part of the object store does not listen: {log.read_text()[-1000:]}")
