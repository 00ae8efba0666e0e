"""One palette index must have one colour in all masks of a data set."""

from pathlib import Path

import numpy as np

from segline.preprocessing import palettes
from tests.preprocessing.test_headers import chunk
from tests.preprocessing.test_images import encoded, stored

A, B, C = (Path(f"{name}.png") for name in "abc")
BLACK, RED, GREEN = (0, 0, 0), (200, 0, 0), (0, 200, 0)


def test_only_colours_of_indices_in_the_mask_count():
    mask = np.array([[0, 2, 2]], np.uint8)
    content = stored(mask, 8, 3, chunk(b"PLTE", bytes([*BLACK, *RED, *GREEN])))

    assert {0: BLACK, 2: GREEN} == palettes.colours(content, mask)


def test_a_gray_mask_has_no_colours():
    mask = np.array([[0, 2, 2]], np.uint8)

    assert {} == palettes.colours(encoded(mask), mask)


def test_equal_colours_and_unused_indices_are_no_conflict():
    assert palettes.conflict([(A, {0: BLACK, 1: RED}), (B, {0: BLACK}), (C, {2: GREEN}), (A, {})]) is None


def test_a_conflict_names_both_files_the_index_and_both_colours():
    problem = palettes.conflict([(A, {0: BLACK, 1: RED}), (B, {0: BLACK, 1: GREEN})])

    assert str(problem) == (
        "b.png: palette index 1 is (0, 200, 0), but (200, 0, 0) in a.png. If the colours are the classes, set "
        "data.folder.encoding to palette; if the indices are, save all masks with the same palette."
    )


def test_thousands_of_conflicts_are_one_error_with_their_number():
    problem = palettes.conflict([(A, {0: BLACK, 1: RED}), (B, {0: RED, 1: GREEN}), (C, {0: GREEN})])

    assert str(problem).startswith(
        "b.png: palette index 0 is (200, 0, 0), but (0, 0, 0) in a.png; 2 indices and 2 masks differ from earlier ones."
    )
