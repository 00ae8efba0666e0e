"""What is known of pixels without data while an image is read; `test_sliding_window` has the rest."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segline.dataset import onehot
from segline.inference import input_rows
from segline.preprocessing.image_files.image_file import Samples

VALID = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20))


@given(valid=VALID, read=st.integers(1, 20), written=st.integers(1, 20), known=st.booleans())
def test_classes_are_void_exactly_where_there_is_no_data(valid, read, written, known):
    """However the lines come and go."""
    no_data = input_rows.NoData(*valid.shape)
    for top in range(0, len(valid), read):
        part = valid[top : top + read]
        no_data.add(Samples(np.zeros((*part.shape, 1), np.uint8), part if known else None))
    classes = np.ones(valid.shape, np.uint8)
    for top in range(0, len(valid), written):
        no_data.cut_from(classes[top : top + written], top)

    assert (classes == np.where(valid | (not known), 1, onehot.VOID)).all()
