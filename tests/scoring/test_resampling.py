"""Sums over images drawn with replacement: those of all draws at once, one draw at a time."""

import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segline.scoring import resampling


@given(images=st.integers(1, 50), resamples=st.integers(1, 20), seed=st.integers(0, 99))
def test_the_sums_are_those_of_the_images_drawn(images, resamples, seed):
    counts = np.random.default_rng(seed).integers(0, 1 << 40, (images, 3, 2))
    drawn = np.random.default_rng(seed).integers(0, images, (resamples, images))

    assert counts[drawn].sum(axis=1).tolist() == resampling.totals(counts, resamples, seed).tolist()


def test_memory_does_not_grow_with_the_resamples():
    counts = np.ones((20_000, 1), np.int64)
    tracemalloc.start()
    totals = resampling.totals(counts, 200, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (totals == len(counts)).all()
    assert peak < 10 * counts.nbytes
