"""Lines of an image as they come -> blocks of a whole number of lines."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Lines = npt.NDArray[Any]


class LineBlocks:
    """Calls `take(first, lines)` with multiples of `size` lines of an image of `height`; its last may be fewer."""

    def __init__(self, size: int, height: int, take: Callable[[int, Lines], None]) -> None:
        self._size, self._height, self._take = size, height, take
        self._taken = 0
        self._waiting: list[Lines] = []

    def append(self, lines: Lines) -> None:
        """The next lines (n, W, ...)."""
        self._waiting.append(lines)
        there = sum(map(len, self._waiting))
        complete = there if self._taken + there == self._height else there // self._size * self._size
        if complete:
            joined = lines if len(self._waiting) == 1 else np.concatenate(self._waiting)
            self._take(self._taken, joined[:complete])
            self._taken += complete
            self._waiting = [joined[complete:]] if complete < there else []
