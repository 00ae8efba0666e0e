"""One palette index must have one colour in all masks of a data set."""

from pathlib import Path

import numpy as np

from segline.preprocessing import palettes

A, B, C = (Path(f"{name}.png") for name in "abc")
BLACK, RED, GREEN = (0, 0, 0), (200, 0, 0), (0, 200, 0)


def test_only_colours_of_indices_in_the_mask_count():
    used = np.isin(np.arange(256), [0, 2])

    assert {0: BLACK, 2: GREEN} == palettes.colours((BLACK, RED, GREEN), used)


def test_indices_beyond_the_palette_have_no_colour():
    assert {0: BLACK} == palettes.colours((BLACK,), np.isin(np.arange(256), [0, 7]))


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
