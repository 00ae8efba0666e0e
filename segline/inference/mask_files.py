"""Masks as TIFF files, written line by line: tiled, deflate, BigTIFF where the size needs it."""

import errno
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segline.core import atomic
from segline.core.errors import DataError
from segline.dataset import onehot
from segline.inference.line_blocks import LineBlocks
from segline.preprocessing.image_files import tiff
from segline.preprocessing.image_files.image_file import Georeference

Uint8 = npt.NDArray[np.uint8]

SIDE = 256  # of a tile in the file
_OPTIONS = {"GDAL_PAM_ENABLED": "NO", "GDAL_CACHEMAX": 1 << 27}  # no file beside it; bytes of tiles in memory


@contextmanager
def written(
    path: Path, height: int, width: int, place: Georeference | None, planes: Sequence[str] = ()
) -> Iterator[Callable[[Uint8], None]]:
    """Yields a function that appends lines (n, width) of classes from the top; `path` appears once the block succeeds.

    Or lines (n, width, P) of values, if there are P names of `planes`. `place` is where the image lies. Equal values
    give equal bytes. Raises OSError if the disk fails. All calls must come from one thread.
    """
    import rasterio  # noqa: PLC0415 - 0.2 s, which only TIFF needs
    from rasterio.errors import NotGeoreferencedWarning, RasterioError  # noqa: PLC0415
    from rasterio.transform import Affine  # noqa: PLC0415
    from rasterio.windows import Window  # noqa: PLC0415

    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # most images are not
    where = {} if place is None else {"crs": place.crs, "transform": Affine(*place.transform)}
    bands = {"count": len(planes), "interleave": "band"} if planes else {"count": 1, "nodata": onehot.VOID}
    form = {"dtype": "uint8", "height": height, "width": width, **bands, **where}
    tiles = {"tiled": True, "blockysize": SIDE, "blockxsize": SIDE, "compress": "deflate", "BIGTIFF": "IF_SAFER"}
    with atomic.file(path) as temporary:
        try:
            with rasterio.Env(**_OPTIONS), rasterio.open(temporary, "w", driver="GTiff", **form, **tiles) as mask:

                def write(top: int, lines: Uint8) -> None:
                    values = np.ascontiguousarray(lines.transpose(2, 0, 1)) if planes else lines[None]
                    mask.write(values, window=Window(0, top, width, len(lines)))

                for number, name in enumerate(planes, start=1):
                    mask.set_band_description(number, name)
                yield LineBlocks(SIDE, height, write).append
        except RasterioError as error:
            raise _failure(temporary, path, error) from None
        _require_complete(temporary, path, height * width * max(1, len(planes)))


def _require_complete(temporary: Path, path: Path, samples: int) -> None:
    """Raises OSError if GDAL failed to write its last tiles, which it does not tell."""
    try:
        with tiff.opened(temporary, path, None, samples):
            pass
    except DataError as error:
        raise _failure(temporary, path, error) from None


def _failure(temporary: Path, path: Path, error: Exception) -> OSError:
    """Raises the reason itself, such as a full disk, if appending to the same file fails too: GDAL does not name it."""
    with temporary.open("ab") as stream:
        stream.write(bytes(1 << 20))
    return OSError(errno.EIO, f"the mask cannot be written ({error})", str(path))
