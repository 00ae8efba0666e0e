"""What holds for every test: hypothesis never judges the machine, Ctrl-C arrives, and torch is left as it was."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow, not wrong; and CI tries the same examples each time.
settings.register_profile(
    "segline", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("segline")

# A shell's background job, as CI may be, ignores Ctrl-C, and so would the processes that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take minutes come first, so that no process of `pytest -n` waits for the last one at the end."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)


@pytest.fixture(autouse=True)
def torch_as_before() -> Iterator[None]:
    """Stages and tests switch torch to deterministic mode; without this, later ones would have it by chance."""
    yield
    if torch := sys.modules.get("torch"):
        torch.use_deterministic_algorithms(False)
