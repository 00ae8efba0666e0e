"""What is said where there is no Ray, or no cluster."""

import socket

import pytest

from segline.core.errors import DeviceError
from segline.scheduling import cluster, nodes, tasks


def test_without_ray_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setenv(nodes.ADDRESS, "127.0.0.1:1")
    monkeypatch.setattr(cluster, "find_spec", lambda _: None)

    with pytest.raises(DeviceError, match=r"^RAY_ADDRESS: set, but Ray is not installed\. make setup EXTRAS=cluster"):
        list(tasks.run(lambda item, _: item, [1]))


def test_an_address_where_nothing_listens_is_named_at_once():
    """Ray itself would try for minutes."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # but does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(DeviceError, match=rf"^RAY_ADDRESS: no Ray cluster at {address} \(Connection refused\)"):
            cluster.require_answer(address)


def test_the_tasks_see_the_variables_that_may_change_a_byte_and_no_others(monkeypatch):
    for name, value in {"SEGLINE_DEVICE": "cpu", "MKL_CBWR": "AVX2", "HOME": "/home", "OMP_NUM_THREADS": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SEGLINE_PARENT", "1")  # the process that the driver must not outlive is no other machine's
    found = cluster.environment()

    assert {"SEGLINE_DEVICE": "cpu", "MKL_CBWR": "AVX2", "OMP_NUM_THREADS": "2"}.items() <= found.items()
    assert {"HOME", "SEGLINE_PARENT"}.isdisjoint(found)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert "1" == cluster.environment()["OMP_NUM_THREADS"]
