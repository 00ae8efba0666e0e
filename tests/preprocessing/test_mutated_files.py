"""A thousand mutated files of each format: read or refused by a clear error. `tests.sweeps.inputs` tries many more."""

import random

import pytest

from segline.core.errors import DataError
from tests.sweeps import inputs


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "bmp", "webp", "gif"])
def test_mutated_files_are_read_or_refused(kind, tmp_path):
    read, refused = inputs.READERS[kind](tmp_path), 0

    for number in range(1000):
        try:
            read(random.Random(f"1 {number}"))
        except DataError:
            refused += 1

    assert 100 < refused < 980, "most changes break a file; some are harmless"
