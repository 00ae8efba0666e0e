"""What all own pixels of an image, or of its mask, show: filled piece by piece, from the top."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from segline.dataset.onehot import Lookup
from segline.preprocessing import levels, object_numbers
from segline.preprocessing.image_files.masks import Mask
from segline.preprocessing.image_files.stored_samples import Samples

Uint8 = npt.NDArray[np.uint8]


@dataclass
class OfImage:
    """The levels of an image, and whether some or all of its pixels have no value."""

    counter: levels.Counter
    has_data: bool = False
    no_data: bool = False

    def add(self, samples: Samples, pixels: Uint8) -> None:
        """See `working_image.image_rows`."""
        self.counter.add(samples, pixels)
        self.has_data |= samples.valid is None or bool(samples.valid.any())
        self.no_data |= samples.valid is not None and not samples.valid.all()


@dataclass
class OfMask:
    """Whether all values of a mask are known, and which indices of its palette occur, bool (256,).

    `by_palette` if its values are such indices; `numbers` is what was seen of its object numbers, None without.
    """

    lookup: Lookup
    by_palette: bool
    numbers: object_numbers.Seen | None
    known: bool = True
    indices: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(256, np.bool_))

    def labels(self, strips: Iterator[tuple[Mask, ...]]) -> Iterator[Uint8]:
        """See `working_image.label_rows`."""
        classes = self.lookup.classes
        if self.numbers is None:
            return (classes(values) for values, *_ in strips)
        return self.numbers.split((classes(values), numbers) for values, numbers in strips)

    def add(self, own: tuple[Mask, ...]) -> None:
        """See `working_image.label_rows`."""
        values, *numbers = own
        self.known = self.known and self.lookup.knows(values)
        if self.numbers and self.known:
            self.numbers.add(self.lookup.classes(values), *numbers)
        if self.by_palette:
            self.indices |= np.bincount(values.ravel(), minlength=256) > 0
