import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segline.dataset import onehot

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
KINDS = st.sampled_from([(np.uint8, 1 << 8, 1 << 16), (np.uint16, 1 << 16, 1 << 16), (np.uint32, 1 << 17, 1 << 17)])


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Classes, with void among them, and how many classes there are."""
    num_classes = draw(st.integers(1, 255))
    elements = st.one_of(st.integers(0, num_classes - 1), st.just(onehot.VOID))
    return draw(hnp.arrays(np.uint8, draw(SHAPES), elements=elements)), num_classes


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, dict[int, int | None], int]:
    """A mask of any values, a class or void for some of the values, and the size of the lookup."""
    kind, top, size = draw(KINDS)
    pool = draw(st.lists(st.integers(0, top - 1), min_size=2, max_size=12, unique=True))
    meaning = st.one_of(st.none(), st.integers(0, 254))
    values = draw(st.dictionaries(st.sampled_from(pool), meaning, max_size=len(pool)))
    return draw(hnp.arrays(kind, draw(SHAPES), elements=st.sampled_from(pool))), values, size


@given(labelled())
def test_unpack_undoes_pack(case):
    classes, num_classes = case

    np.testing.assert_array_equal(onehot.unpack(onehot.pack(classes, num_classes), num_classes), classes)


@given(labelled())
def test_a_pixel_has_one_bit_and_void_has_none(case):
    classes, num_classes = case

    packed = onehot.pack(classes, num_classes)

    assert packed.shape == (*classes.shape, onehot.packed_size(num_classes))
    np.testing.assert_array_equal(np.unpackbits(packed, axis=-1).sum(axis=-1), (classes != onehot.VOID).astype(int))


@given(labelled())
def test_bits_equal_a_one_hot_vector_built_pixel_by_pixel(case):
    """Bit k of a pixel, in little order, is class k."""
    classes, num_classes = case
    expected = np.zeros((*classes.shape, onehot.packed_size(num_classes)), np.uint8)
    for y, x in np.ndindex(classes.shape):
        if classes[y, x] != onehot.VOID:
            expected[y, x, classes[y, x] // 8] = 1 << (classes[y, x] % 8)

    np.testing.assert_array_equal(onehot.pack(classes, num_classes), expected)


@given(labelled())
def test_a_class_is_present_if_a_pixel_has_it(case):
    classes, num_classes = case
    expected = [k in classes for k in range(num_classes)]

    assert expected == onehot.present(onehot.pack(classes, num_classes), num_classes).tolist()


@given(masks())
def test_a_lookup_gives_each_pixel_what_a_dictionary_gives(case):
    mask, values, size = case
    lookup = onehot.lookup(values.items(), size)
    meanings = [values.get(int(value)) for value in mask.ravel()]
    expected = [onehot.VOID if meaning is None else meaning for meaning in meanings]

    assert lookup.knows(mask) == all(int(value) in values for value in mask.ravel())
    assert lookup.classes(mask).dtype == np.uint8
    assert lookup.classes(mask).ravel().tolist() == expected


def test_a_lookup_of_255_classes_still_tells_void_from_unknown():
    lookup = onehot.lookup([*((value, value) for value in range(255)), (300, None)], 1 << 16)
    void, unknown = np.full((2, 2), 300, np.uint16), np.full((2, 2), 255, np.uint8)

    assert (lookup.knows(void), lookup.knows(unknown)) == (True, False)
    assert lookup.classes(void).tolist() == [[onehot.VOID] * 2] * 2


@pytest.mark.parametrize(("num_classes", "size"), [(1, 1), (8, 1), (9, 2), (12, 2), (16, 2), (17, 3), (255, 32)])
def test_a_packed_pixel_takes_one_byte_for_eight_classes(num_classes, size):
    assert onehot.packed_size(num_classes) == size
