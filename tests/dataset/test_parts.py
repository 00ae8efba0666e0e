"""An array in parts, compared with the same array in memory."""

import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.dataset import npy, parts

ROW = (4, 5, 3)


def array(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *ROW), np.uint8)


def write(folder: Path, rows: np.ndarray, each: int, order: Sequence[int] | None = None) -> list[Path]:
    """The files of the rows, put by four threads."""
    folder.mkdir(exist_ok=True)
    with parts.writing(folder, "rows", rows.shape, each) as writer, ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(writer.put, n, rows[n]) for n in (range(len(rows)) if order is None else order)]:
            done.result()
    return parts.paths(folder, "rows", len(rows), each)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Ten rows in parts of three, and the same rows in memory."""
    rows = array(10)
    return parts.read(write(tmp_path_factory.mktemp("ten"), rows, 3), rows.shape, 3), rows


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_the_files_do_not_depend_on_the_order_of_writing(tmp_path, order):
    rows, orders = array(10), {"ascending": range(10), "descending": range(9, -1, -1)}
    written = write(tmp_path / "a", rows, 3, orders.get(order, np.random.default_rng(1).permutation(10).tolist()))

    assert ["rows-00000.npy", "rows-00001.npy", "rows-00002.npy", "rows-00003.npy"] == [path.name for path in written]
    for number, path in enumerate(written):
        np.save(tmp_path / "numpy.npy", rows[3 * number : 3 * number + 3])
        assert (tmp_path / "numpy.npy").read_bytes() == path.read_bytes()


def test_one_part_is_a_plain_memory_map(tmp_path):
    rows = array(3)

    assert isinstance(parts.read(write(tmp_path / "a", rows, 3), rows.shape, 3), np.memmap)


def test_no_part_is_larger_than_the_limit_unless_one_row_is(tmp_path, monkeypatch):
    for limit in (1, 300, 1000):
        monkeypatch.setattr(parts, "MAX_BYTES", limit)
        each = parts.num_rows(array(1).nbytes)
        sizes = [path.stat().st_size for path in write(tmp_path / str(limit), array(10), each)]
        assert max(sizes) <= max(limit, parts.HEADER + array(1).nbytes)
        assert each == 1 or parts.HEADER + (each + 1) * array(1).nbytes > limit


def test_form_and_length_are_those_of_the_array(stored):
    mapped, rows = stored

    assert (rows.shape, rows.dtype, rows.nbytes, len(rows)) == (mapped.shape, mapped.dtype, mapped.nbytes, len(mapped))


@given(st.data())
def test_rows_are_those_of_the_array_by_number_slice_and_numbers(stored, data):
    mapped, rows = stored
    number = data.draw(st.integers(-10, 9))
    several = np.array(data.draw(st.lists(st.integers(-10, 9))), data.draw(st.sampled_from([np.int64, np.int32])))
    part = data.draw(st.slices(10))

    np.testing.assert_array_equal(rows[number], mapped[number])
    np.testing.assert_array_equal(rows[several], mapped[several])
    np.testing.assert_array_equal(rows[part], mapped[part])


def test_rows_come_in_order_and_the_whole_array_can_be_had(stored):
    mapped, rows = stored

    np.testing.assert_array_equal(rows, [*mapped])
    np.testing.assert_array_equal(rows, np.array(mapped))
    np.testing.assert_array_equal(rows.astype(np.float32), np.asarray(mapped, np.float32))


@pytest.mark.parametrize("key", [10, -11, np.array([0, 10]), np.array([-11])])
def test_rows_out_of_bounds_are_index_errors(stored, key):
    with pytest.raises(IndexError, match=r"range|bounds"):
        stored[0][key]


def test_rows_are_read_only(stored):
    with pytest.raises(ValueError, match="read-only"):
        stored[0][4][0] = 0


def test_several_parts_are_mapped_and_written_with_few_open_files(tmp_path, monkeypatch):
    """A process has about a thousand, an array may have more parts."""
    monkeypatch.setattr(parts, "MAPPED", 5)
    rows, opened = array(60), []
    with parts.writing(tmp_path, "rows", rows.shape, 1) as writer:
        for number, row in enumerate(rows):
            writer.put(number, row)
            opened.append(len([*Path("/proc/self/fd").iterdir()]))
    mapped = parts.read(parts.paths(tmp_path, "rows", 60, 1), rows.shape, 1)
    for number in range(60):
        assert rows[number].tobytes() == mapped[number].tobytes()
        opened.append(len([*Path("/proc/self/fd").iterdir()]))

    assert max(opened) <= min(opened) + 5


def test_writing_takes_the_memory_of_a_row_and_reading_that_of_what_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("segline.core.parallel.count", lambda: 1)  # hashing takes 256 KiB for each
    row = np.zeros((256, 256, 4), np.uint8)
    np.unique(row[0])  # imports a module at the first call
    tracemalloc.start()
    with parts.writing(tmp_path, "rows", (40, *row.shape), 7) as writer:
        for number in range(40):
            writer.put(number, row)
    files = parts.paths(tmp_path, "rows", 40, 7)
    assert 6 == len(set(parts.hashes(files))) + 4  # equal but for the last
    mapped = parts.read(files, (40, *row.shape), 7)
    assert not any(each.any() for each in mapped)
    mapped[np.array([3, 39])]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 6 * row.nbytes


@pytest.mark.parametrize(
    "content", [np.zeros((2, *ROW), np.uint8), np.zeros((3, 4, 5), np.uint8), np.zeros((3, *ROW), np.int8)]
)
def test_a_file_that_is_not_the_part_it_should_be_is_named(tmp_path, content):
    files = write(tmp_path / "a", array(10), 3)
    np.save(files[1], content)

    with pytest.raises(ValueError, match=r"rows-00001\.npy: u?int8 \(.*\), expected uint8 \(3, 4, 5, 3\)"):
        parts.read(files, (10, *ROW), 3)


def test_a_failing_disk_names_the_part(tmp_path):
    (tmp_path / "rows-00001.npy").symlink_to("/dev/full")
    said = r"No space left on device after 0 of 308 bytes: '.*rows-00001\.npy'"
    with pytest.raises(OSError, match=said):
        parts.create(tmp_path, "rows", (6, *ROW), 3)


def test_several_writers_put_the_rows_of_one_array(tmp_path):
    """As tasks do: each some rows, of which the first and the last part have others too."""
    rows = array(10)
    parts.create(tmp_path, "rows", rows.shape, 3)
    for taken in (range(5, 10), range(2), range(2, 5)):
        with parts.placing(tmp_path, "rows", rows.shape, 3, taken) as writer:
            for number in taken:
                writer.put(number, rows[number])

    expected = write(tmp_path / "at once", rows, 3)
    assert [path.read_bytes() for path in expected] == [path.read_bytes() for path in sorted(tmp_path.glob("*.npy"))]


def test_the_header_is_as_long_as_assumed(tmp_path):
    """For the largest rows there are."""
    for shape in ((0, 8192, 8192, 1024), (0, 1, 1, 1)):
        with npy.writing(tmp_path / "a.npy", shape):
            pass
        assert parts.HEADER == (tmp_path / "a.npy").stat().st_size
