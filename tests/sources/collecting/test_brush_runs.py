"""Label Studio's run lengths: every way to pack a picture gives it back, and nothing else is taken for one."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.sources.collecting import brush_runs


def packed(
    words: list[int], cuts: list[tuple[int, int]], sizes: tuple[int, ...] = (3, 4, 8, 16), word: int = 8
) -> list[int]:
    """The words bit by bit; each cut is the length of the next run, and which of the sizes it takes."""
    bits = f"{len(words):032b}{word - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    done = 0
    for length, choice in [*cuts, *[(8, 0)] * len(words)]:
        part = words[done : done + min(length, 1 << sizes[choice])]
        if not part:
            break
        is_run = len(set(part)) == 1
        bits += f"{is_run:b}{choice:02b}{len(part) - 1:0{sizes[choice]}b}"
        bits += "".join(f"{each:0{word}b}" for each in (part[:1] if is_run else part))
        done += len(part)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


@given(
    alpha=st.lists(st.sampled_from([0, 1, 128, 255]), min_size=6, max_size=6),
    colour=st.integers(0, 255),
    cuts=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3))),
    sizes=st.tuples(*[st.integers(1, 16)] * 4),
)
def test_what_is_not_wholly_transparent_is_painted(alpha, colour, cuts, sizes):
    """Whatever the colours, the runs and the widths of their lengths."""
    words = [each for transparency in alpha for each in (colour, 0, colour, transparency)]

    assert np.array_equal(np.reshape(alpha, (2, 3)) > 0, brush_runs.painted(packed(words, cuts, sizes), 2, 3))


def test_bytes_that_are_cut_anywhere_are_refused():
    whole = packed([7, 1, 2, 255] * 6, [(3, 0), (9, 2)])
    for length in range(len(whole) - 1):
        with pytest.raises(ValueError, match=r"damaged run lengths: cut"):
            brush_runs.painted(whole[:length], 2, 3)


@pytest.mark.parametrize(
    ("content", "size", "expected"),
    [
        (packed([0] * 24, []), (2, 4), "24 bytes, expected 32: four a pixel"),
        (packed([0] * 24, [], word=9), (2, 3), "words of 9 bits, expected 8"),
        ([256, *packed([0] * 24, [])], (2, 3), "a number outside of 0 to 255"),
        ([*packed([0] * 24, [])[:4], *packed([0] * 32, [(32, 3)])[4:]], (2, 3), "more than there are pixels"),
        ([0] * (brush_runs.MAX_BYTES + 1), (2, 3), "expected at most 16777216"),
        (packed([0] * 24, []), (1 << 14, 1 << 13), "on 8192x16384 pixels, expected at most"),
    ],
)
def test_what_is_no_picture_of_that_size_is_refused(content, size, expected):
    with pytest.raises(ValueError, match=expected):
        brush_runs.painted(content, *size)


@given(content=st.lists(st.integers(0, 255), max_size=60))
def test_any_bytes_are_a_picture_or_refused(content):
    header = packed([0] * 24, [])[:6]
    with suppress(ValueError):  # and nothing else is raised
        assert (2, 3) == brush_runs.painted([*header, *content], 2, 3).shape
