from pathlib import Path

import numpy as np
import pytest

from segline.core.errors import DataError
from segline.dataset import onehot, raw
from segline.preprocessing import mask_values

WHERE = Path("masks/a.png")


def refusal(mask: np.ndarray, values: dict[int, int | None], encoding: str) -> str:
    lookup = onehot.lookup(values.items(), raw.ENCODINGS[encoding])
    with pytest.raises(DataError) as caught:
        mask_values.classes(mask, WHERE, lookup, encoding)
    return str(caught.value)


def test_known_values_become_classes_and_void():
    lookup = onehot.lookup([(0, 1), (700, 0), (9, None)], 1 << 16)

    classes = mask_values.classes(np.array([[0, 700], [9, 0]], np.uint16), WHERE, lookup, "index")

    assert classes.tolist() == [[1, 0], [onehot.VOID, 1]]


def test_an_unknown_value_is_reported_with_its_count_and_first_pixel():
    mask = np.zeros((4, 5), np.uint8)
    mask[1, 3] = mask[2, 0] = 7
    mask[3, 3] = 200

    assert refusal(mask, {0: 0, 1: 1, 2: 2, 255: None}, "index") == (
        "masks/a.png: value 7 on 2 pixels, first at (x, y) = (3, 1) (and 1 other unknown value), expected a value of "
        "the class table (0..2, 255). Correct the mask, or add the class to the source's table."
    )


def test_smoothed_colours_are_reported_by_the_first_and_their_number():
    ramp = np.arange(300, dtype=np.uint32).reshape(15, 20)

    message = refusal(ramp << 8 | 5, {5: 0, 1 << 8 | 5: 1}, "rgb")

    assert message.startswith(
        "masks/a.png: colour (0, 2, 5) on 1 pixels, first at (x, y) = (2, 0) (and 297 other unknown colours), expected "
        "only the 2 colours of the class table. Export it again without smoothing or JPEG"
    )


def test_a_long_list_of_allowed_values_is_cut():
    allowed = {2 * value: value for value in range(30)}

    assert "(0, 2, 4, 6, 8, 10, 12, 14, ...)" in refusal(np.ones((1, 1), np.uint8), allowed, "index")


def test_a_binary_mask_with_smeared_edges_is_sent_to_the_threshold():
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 255
    mask[5, 5:15], mask[4, 5:15] = [248, 249, 250, 251, 252] * 2, [1, 2, 3, 4, 5] * 2

    message = refusal(mask, {0: 0, 255: 1}, "index")

    assert message.startswith("masks/a.png: binary mask with smeared edges: value 1 on 2 pixels")
    assert message.endswith("Set data.folder.threshold to 127, or export it again without smoothing or JPEG.")


def test_colours_of_palettes_are_named_as_colours():
    message = refusal(np.full((2, 2), 0x0A0B0C, np.uint32), {0: 0, 1: 1}, "palette")

    assert message.startswith("masks/a.png: colour (10, 11, 12) on 4 pixels")
