"""Label Studio's run lengths for brush strokes: the bytes of an RGBA picture, packed bit by bit -> the painted pixels.

Most significant bit first: 32 bits the number of words, 5 bits their size less one, four times 4 bits a width less one;
then runs until all words are there. A run is 1 bit (1: one word for all, 0: a word each), 2 bits that choose one of the
four widths, its length less one in so many bits, and its word or words. Painted is what is not wholly transparent.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MAX_BYTES = 16 << 20
MAX_PIXELS = 1 << 26  # four bytes of memory each
_WORD = 8  # bits
_HEADER = 32 + 5 + 4 * 4  # bits
_AHEAD = 8  # bytes that hold a run's head and its first word, wherever they start


def painted(packed: Sequence[int], height: int, width: int) -> npt.NDArray[np.bool_]:
    """The painted pixels (height, width). Raises ValueError unless these are the runs of a picture of that size."""
    if len(packed) > MAX_BYTES:
        raise ValueError(f"run lengths of {len(packed)} bytes, expected at most {MAX_BYTES}")
    if height * width > MAX_PIXELS:
        raise ValueError(f"brush strokes on {width}x{height} pixels, expected at most {MAX_PIXELS}")
    if min(packed, default=0) < 0 or max(packed, default=0) > 255:
        raise ValueError("run lengths with a number outside of 0 to 255")
    words = _unpacked(bytes(packed), 4 * height * width)
    return words[3::4].reshape(height, width) > 0


def _unpacked(content: bytes, expected: int) -> npt.NDArray[np.uint8]:
    count, sizes = _header(content)
    if count != expected:
        raise ValueError(f"run lengths of {count} bytes, expected {expected}: four a pixel")
    words, end = np.empty(count, np.uint8), 8 * len(content)
    padded = np.frombuffer(content + bytes(_AHEAD), np.uint8)
    done, at = 0, _HEADER
    while done < count:
        ahead = int.from_bytes(padded[at >> 3 : (at >> 3) + _AHEAD].tobytes()) << (at & 7) & (1 << 64) - 1
        size = sizes[ahead >> 61 & 3]
        length = (ahead >> 61 - size & (1 << size) - 1) + 1
        at += 3 + size
        is_run = ahead >> 63
        if length > count - done:
            raise ValueError("damaged run lengths: more than there are pixels")
        if at + (_WORD if is_run else _WORD * length) > end:
            raise ValueError("damaged run lengths: cut")
        words[done : done + length] = ahead >> 53 - size & 255 if is_run else _literal(padded, at, length)
        at += _WORD if is_run else _WORD * length
        done += length
    return words


def _header(content: bytes) -> tuple[int, list[int]]:
    """The number of words, and the four widths of lengths."""
    if 8 * len(content) < _HEADER:
        raise ValueError("damaged run lengths: cut")
    header = int.from_bytes(content[:7]) >> 56 - _HEADER
    if (word := (header >> 16 & 31) + 1) != _WORD:
        raise ValueError(f"run lengths with words of {word} bits, expected {_WORD}")
    return header >> 21, [(header >> shift & 15) + 1 for shift in (12, 8, 4, 0)]


def _literal(padded: npt.NDArray[np.uint8], at: int, length: int) -> npt.NDArray[np.uint8]:
    """`length` words from bit `at`."""
    shift = at & 7
    content = padded[at >> 3 : (at >> 3) + length + 1].astype(np.uint16)
    return ((content[:-1] << shift | content[1:] >> 8 - shift) & 255).astype(np.uint8)
