import fcntl
import os
from pathlib import Path

import numpy as np
import pytest

from segline.dataset import npy

ROWS = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)


@pytest.mark.parametrize("row", [np.zeros((5, 7, 1), np.uint8), np.zeros((5, 7, 3), np.float32)])
def test_a_row_of_another_shape_or_type_is_refused(tmp_path, row):
    with npy.writing(tmp_path / "a.npy", ROWS.shape) as append, pytest.raises(ValueError, match="expected"):
        append(row)


def test_an_array_that_does_not_fit_on_the_disk_is_named_with_its_size():
    with pytest.raises(OSError, match=r"No space left on device after 0 of 443 bytes: '/dev/full'"):  # noqa: SIM117
        with npy.writing(Path("/dev/full"), ROWS.shape):
            pass


@pytest.mark.parametrize("shape", [(3, 5, 7, 3), (1, 1), (4, 2, 3)])
def test_saved_arrays_have_the_bytes_of_numpy(tmp_path, shape):
    array = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
    npy.save(tmp_path / "ours.npy", array)
    np.save(tmp_path / "numpy.npy", array)

    assert (tmp_path / "numpy.npy").read_bytes() == (tmp_path / "ours.npy").read_bytes()


def test_rows_are_put_into_a_file_that_cannot_be_read_meanwhile(tmp_path):
    """So that NFS sends these bytes and no page around them, where another machine may have put rows."""
    path = tmp_path / "a.npy"
    npy.create(path, ROWS.shape)
    with npy.placing(path, ROWS.shape) as writer:
        modes = [fcntl.fcntl(int(name), fcntl.F_GETFL) & os.O_ACCMODE for name in descriptors(path)]
        for number, row in enumerate(ROWS):
            writer.put(number, row)

    assert [os.O_WRONLY] == modes
    np.testing.assert_array_equal(ROWS, np.load(path))


def descriptors(path: Path) -> list[str]:
    """Those of this process that are open for this file."""
    return [link.name for link in Path("/proc/self/fd").iterdir() if link.exists() and link.samefile(path)]
