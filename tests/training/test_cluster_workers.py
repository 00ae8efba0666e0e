"""How many workers train on a cluster: what happens there is in tests/cluster."""

import pytest

from segline.core.errors import DeviceError
from segline.scheduling import places
from segline.training import cluster_workers


@pytest.mark.parametrize(
    ("asked", "shards", "fit", "count"),
    [
        (None, 8, 3, 2),
        (None, 4, 9, 4),
        (None, 1, 4, 1),
        ("2", 8, 8, 2),
        ("3", 8, 8, 2),
        ("16", 4, 5, 4),
        ("4", 4, 1, 1),
    ],
)
def test_as_many_as_fit_unless_fewer_are_asked_for(monkeypatch, asked, shards, fit, count):
    monkeypatch.delenv(places.WORKERS, raising=False)
    if asked:
        monkeypatch.setenv(places.WORKERS, asked)

    assert count == cluster_workers.wanted(shards, fit)


def test_a_number_of_workers_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv(places.WORKERS, "two")

    with pytest.raises(DeviceError, match="SEGLINE_WORKERS: expected a number of processes, got 'two'"):
        cluster_workers.wanted(4, 4)
