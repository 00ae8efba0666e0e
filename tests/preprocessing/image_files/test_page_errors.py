from pathlib import Path

import numpy as np
import pytest

from segline.core.errors import DataError
from segline.dataset import onehot
from segline.preprocessing import mask_values
from segline.preprocessing.image_files import page_errors

ERROR = DataError("a.tif", "too dark", "Add light.")


def test_an_error_names_its_page_unless_that_is_the_only_one():
    for page, expected in ((2, "a.tif: page 2: too dark. Add light."), (None, "a.tif: too dark. Add light.")):
        with pytest.raises(DataError) as caught, page_errors.of_page(page):
            raise ERROR
        assert str(caught.value) == expected


def test_the_same_error_of_several_pages_is_told_once():
    other = DataError("b.tif", "too dark", "Add light.")
    pages = [page_errors.on_page(ERROR, number) for number in (2, 3, 4)]

    assert page_errors.once([*pages, other, other]) == [pages[0], other]


def test_an_unknown_value_of_a_mask_names_the_page():
    lookup = onehot.lookup([(0, 0), (1, 1)], 256)

    error = mask_values.unknown([np.full((2, 3), 7, np.uint8)], Path("a.tif"), lookup, "index", page=2)

    assert str(error).startswith("a.tif: page 2: value 7 on 6 pixels")
