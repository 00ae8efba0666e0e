import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segline import encode

LABELS = st.integers(1, 254)


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """A mask, its number of labels, and its void value, which lies anywhere beyond them."""
    num_labels = draw(LABELS)
    void = draw(st.integers(num_labels, 255))
    values = st.one_of(st.integers(0, num_labels - 1), st.just(void))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
    return draw(hnp.arrays(np.uint8, shape, elements=values)), num_labels, void


@given(masks())
def test_unpack_undoes_pack_and_void_comes_back_as_void(case):
    mask, num_labels, void = case
    table = encode.packed_table(encode.class_table(num_labels, void, False), num_labels)

    expected = np.where(mask == void, encode.VOID, mask)

    np.testing.assert_array_equal(encode.unpack(encode.pack(mask, table), num_labels), expected)


@given(masks())
def test_void_as_a_class_is_the_last_one(case):
    mask, num_labels, void = case
    table = encode.packed_table(encode.class_table(num_labels, void, True), num_labels + 1)

    expected = np.where(mask == void, num_labels, mask)

    np.testing.assert_array_equal(encode.unpack(encode.pack(mask, table), num_labels + 1), expected)


@given(masks())
def test_a_pixel_has_one_bit_and_void_has_none(case):
    mask, num_labels, void = case
    table = encode.packed_table(encode.class_table(num_labels, void, False), num_labels)

    packed = encode.pack(mask, table)

    assert packed.shape == (*mask.shape, encode.packed_size(num_labels))
    np.testing.assert_array_equal(np.unpackbits(packed, axis=-1).sum(axis=-1), (mask != void).astype(int))


@given(masks())
def test_bits_equal_a_one_hot_vector_built_pixel_by_pixel(case):
    """Bit k of a pixel, in little order, is class k."""
    mask, num_labels, void = case
    table = encode.packed_table(encode.class_table(num_labels, void, False), num_labels)
    expected = np.zeros((*mask.shape, encode.packed_size(num_labels)), np.uint8)
    for y, x in np.ndindex(mask.shape):
        if mask[y, x] != void:
            expected[y, x, mask[y, x] // 8] = 1 << (mask[y, x] % 8)

    np.testing.assert_array_equal(encode.pack(mask, table), expected)


def test_values_beyond_the_labels_are_unknown():
    table = encode.class_table(11, 11, void_is_class=False)

    assert table[:13].tolist() == [*range(11), encode.VOID, encode.UNKNOWN]
    assert set(table[12:].tolist()) == {encode.UNKNOWN}


def test_without_void_only_labels_are_known():
    assert np.flatnonzero(encode.class_table(3, None, void_is_class=False) != encode.UNKNOWN).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("num_classes", "size"), [(1, 1), (8, 1), (9, 2), (12, 2), (16, 2), (17, 3), (255, 32)])
def test_a_packed_pixel_takes_one_byte_for_eight_classes(num_classes, size):
    assert encode.packed_size(num_classes) == size
