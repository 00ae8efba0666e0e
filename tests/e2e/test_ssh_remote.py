"""DVC's remote on another machine: a real sshd, here on 127.0.0.1, with keys made for the test."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from tests.e2e.project import Project, stages_from_cache, stages_run

pytestmark = pytest.mark.slow
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with the keys of a host and of a user who may log in."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("host", "user"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(folder / name))
        key.write_public_key(str(folder / f"{name}.pub"))
        (folder / name).chmod(0o600)
    return folder


@pytest.fixture
def port(keys: Path) -> Iterator[int]:
    """Where an sshd listens that lets this user in by that key alone."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        reason = "needs sshd (Debian: apt-get install openssh-server)"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where a root's sshd puts its workers, which systemd makes otherwise
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    (keys / "sshd_config").write_text(CONFIG.format(port=number, folder=keys))
    with subprocess.Popen([program, "-D", "-e", "-f", str(keys / "sshd_config")], stderr=subprocess.PIPE) as server:
        try:
            _wait(server, number)
            yield number
        finally:
            server.terminate()


def _wait(server: "subprocess.Popen[bytes]", port: int) -> None:
    """Until somebody listens."""
    for _ in range(300):
        if server.poll() is not None:
            pytest.fail(f"sshd ended: {server.stderr and server.stderr.read().decode()}")
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("sshd does not listen")


def use(project: Project, key: Path) -> None:
    """Settings of this machine alone: which key to log in with."""
    project.dvc("remote", "modify", "--local", "far", "keyfile", str(key))


def test_a_clone_that_pulls_over_ssh_runs_nothing(ascii_project, keys, port, tmp_path):
    store = tmp_path / "store"
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{store}"
    ascii_project.dvc("remote", "add", "--default", "far", url)
    ascii_project.commit("Add a remote")
    use(ascii_project, keys / "user")
    ascii_project.dvc("push")
    assert any(path.is_file() for path in (store / "files/md5").rglob("*"))

    clone = ascii_project.clone(tmp_path / "elsewhere")
    use(clone, keys / "user")
    clone.dvc("pull")

    assert set() == clone.changed()
    output = clone.dvc("repro")
    assert ([], []) == (stages_run(output), stages_from_cache(output))
    assert "" == clone.git("status", "--short")
    assert ascii_project.locked() == clone.locked()


def test_without_the_key_nothing_is_stored(ascii_project, keys, port, tmp_path):
    """The meta-test: what the other test stores goes through the server."""
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(keys / "stranger"))
    ascii_project.dvc(
        "remote", "add", "--default", "far", f"ssh://{getpass.getuser()}@127.0.0.1:{port}{tmp_path}/store"
    )
    use(ascii_project, keys / "stranger")

    assert "ermission denied" in ascii_project.dvc("push", fails=True)
    assert not (tmp_path / "store").exists()
