"""Two Ray nodes for all tests of this folder, and the environment in which a command uses them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore_glob = [] if find_spec("ray") else ["test_*.py"]  # `make test-cluster` installs it

ROOT = Path(__file__).parents[2]

# A busy machine starts slowly. Without the last, Ray takes 127.0.0.1 for the address of the host's network, where
# nothing here listens.
SETTINGS = {
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


@dataclass(frozen=True)
class Nodes:
    process: subprocess.Popen[str]
    environment: dict[str, str]

    def tell(self, command: str) -> None:
        """Lets `tests.cluster.nodes` obey, and waits until it has."""
        assert self.process.stdin
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        assert "done\n" == self._line()

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()


@pytest.fixture(scope="session")
def nodes(tmp_path_factory) -> Iterator[Nodes]:
    environment = {**os.environ, **SETTINGS, "RAY_TMPDIR": "/tmp"}  # names of sockets are short
    command = [sys.executable, "-m", "tests.cluster.nodes"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=environment, text=True, **pipes)
    nodes = Nodes(process, {})
    own = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "SEGLINE_DEVICE": "cpu"}
    address = nodes._line().strip()
    assert address, "the nodes did not start: see above"
    nodes.environment.update({**SETTINGS, **own, "RAY_ADDRESS": address})
    yield nodes
    process.communicate()
