"""Whether an image has the size that its annotations say, by its header alone where that is enough."""

import struct
import warnings
from contextlib import suppress
from pathlib import Path

import PIL.Image

from segline.core.errors import DataError
from segline.preprocessing.image_files import image_file

_QUICK = ("PNG", "JPEG")  # formats whose headers are read without their pixels


def other_than(path: Path, height: int, width: int) -> str | None:
    """What is wrong with an image file that is to be of this size, upright or as it is stored; None if it is.

    One of the right size is not read further than its header, so it may still be damaged.
    """
    if _quickly(path) == (height, width):
        return None
    try:
        with image_file.opened(path, path, windows=True) as image:
            if (height, width) in {(image.height, image.width), image.stored_size}:
                return None
            return f"{path} has {image.width}x{image.height} pixels, but its annotations are for {width}x{height}"
    except DataError as error:
        return f"{path}: {error.problem}"


def _quickly(path: Path) -> tuple[int, int] | None:
    """Height and width as they are stored; None if that takes more than a look at the header."""
    with (
        warnings.catch_warnings(action="ignore"),
        suppress(OSError, ValueError, SyntaxError, struct.error, PIL.Image.DecompressionBombError),
        PIL.Image.open(path, formats=_QUICK) as image,
    ):
        return image.height, image.width
    return None
