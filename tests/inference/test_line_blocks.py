"""Blocks contain all lines, in order and in whole numbers of a size."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segline.inference.line_blocks import LineBlocks


@given(size=st.integers(1, 9), bands=st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_lines_in_bands_become_blocks_of_whole_multiples(size, bands):
    lines = np.arange(2 * sum(bands)).reshape(-1, 2)
    taken = []
    blocks = LineBlocks(size, len(lines), lambda first, part: taken.append((first, part)))
    for band in np.split(lines, np.cumsum(bands)[:-1]):
        blocks.append(band)

    assert (np.concatenate([part for _, part in taken]) == lines).all()
    assert [part[0, 0] // 2 for _, part in taken] == [first for first, _ in taken]
    assert all(len(part) % size == 0 for _, part in taken[:-1])
