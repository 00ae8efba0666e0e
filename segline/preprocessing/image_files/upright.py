"""How an image is turned upright: the eight orientations of Exif and TIFF (TIFF 6.0, tag 274)."""

from dataclasses import dataclass

from segline.preprocessing.image_files.stored_samples import Array, Georeference

Window = tuple[int, int, int, int]  # top, left, height, width


@dataclass(frozen=True)
class Turn:
    """Stored -> upright: rows and columns are exchanged, then rows reversed (`down`), then columns (`across`)."""

    exchange: bool
    down: bool
    across: bool

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the upright image."""
        return (width, height) if self.exchange else (height, width)

    def upright(self, pixels: Array) -> Array:
        """Stored pixels (H, W, ...), turned."""
        turned = pixels.swapaxes(0, 1) if self.exchange else pixels
        return turned[:: -1 if self.down else 1, :: -1 if self.across else 1]

    def stored_window(self, window: Window, size: tuple[int, int]) -> Window:
        """Where a window of the upright image, which has that size, lies in the stored one."""
        top, left, height, width = window
        top = size[0] - top - height if self.down else top
        left = size[1] - left - width if self.across else left
        return (left, top, width, height) if self.exchange else (top, left, height, width)

    def georeference(self, stored: Georeference | None, height: int, width: int) -> Georeference | None:
        """That of the upright image, which has this size."""
        if stored is None:
            return None
        a, b, c, d, e, f = stored.transform
        # Upright (x, y) is stored (p x + q y + r, s x + t y + u).
        p, q, r = (0, -1 if self.down else 1, height * self.down) if self.exchange else _along(self.across, width)
        s, t, u = _along(self.across, width) if self.exchange else (0, -1 if self.down else 1, height * self.down)
        return Georeference(
            stored.crs,
            (a * p + b * s, a * q + b * t, a * r + b * u + c, d * p + e * s, d * q + e * t, d * r + e * u + f),
        )


def _along(reverse: bool, length: int) -> tuple[int, int, int]:
    """x -> length - x if it is reversed."""
    return (-1, 0, length) if reverse else (1, 0, 0)


TURNS = {
    1: Turn(exchange=False, down=False, across=False),
    2: Turn(exchange=False, down=False, across=True),
    3: Turn(exchange=False, down=True, across=True),
    4: Turn(exchange=False, down=True, across=False),
    5: Turn(exchange=True, down=False, across=False),
    6: Turn(exchange=True, down=False, across=True),
    7: Turn(exchange=True, down=True, across=True),
    8: Turn(exchange=True, down=True, across=False),
}
