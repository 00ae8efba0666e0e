"""TIFF, BigTIFF and GeoTIFF by GDAL (rasterio), window by window: no other driver, no network, no other files."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from segline.core import untrusted
from segline.core.errors import DataError
from segline.preprocessing.image_files.decoder_warnings import GdalWarnings
from segline.preprocessing.image_files.headers import AGAIN
from segline.preprocessing.image_files.page_errors import of_page
from segline.preprocessing.image_files.stored_samples import Array, Georeference, Rgb, Samples, Stored, require_size
from segline.preprocessing.image_files.tiff_directories import Directory, Reader

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_BYTES = 1 << 40
MAX_BLOCK = 1 << 28  # bytes of a strip or tile, which is decoded whole
MAX_BANDS = 1024
MAX_LINE = 1 << 26  # bytes of all bands of one line of pixels
MAX_PIXEL = 8  # bytes of a pixel, if the largest image is to be read at once

_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no file beside it is looked for
    "GDAL_PAM_ENABLED": "NO",  # nor .aux.xml
    "GDAL_CACHEMAX": 1 << 27,  # bytes; otherwise it grows with the memory of the machine
    "GDAL_NUM_THREADS": "1",  # callers use all cores, and libjpeg's warnings come in the thread that reads
    "GDAL_GEOREF_SOURCES": "INTERNAL",  # nor a world file
}
_SAMPLES = ("uint8", "uint16", "uint32", "int16", "int32", "float32")
_COMPRESSIONS = {1: "none", 2: "fax", 3: "fax", 4: "fax", 5: "LZW", 7: "JPEG", 8: "deflate", 32773: "PackBits"}
_COMPRESSIONS |= {32946: "deflate", 50000: "ZSTD"}
_JPEG = 7
_IMAGEJ = re.compile(rb"ImageJ=.*?^images=(\d{1,9})\b", re.DOTALL | re.MULTILINE)
_DESCRIPTION, _MOST_TEXT = 270, 1 << 12
_PHOTOMETRICS = _WHITE, _BLACK, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6  # PhotometricInterpretation
_CONVERT = "Convert it, for example by gdal_translate."
_WARNINGS = GdalWarnings()


def pages(source: bytes | Path, where: Path) -> int:
    """How many images the file has; overviews and masks of images do not count. Raises DataError."""
    with _reader(source, where) as reader:
        return len(_pages(reader, where))


@contextmanager
def opened(source: bytes | Path, where: Path, page: int | None, most: int) -> Iterator[Stored]:
    """A page of the file, counted from 1; None is the only one. `most` limits its pixels. Raises DataError."""
    with _reader(source, where) as reader:
        found = _pages(reader, where)
        directory = _page(found, page, where)
        number = page if len(found) > 1 else None
        with of_page(number):
            declared = _declared(reader, directory, len(found))
            _check(declared, where, most)
            reader.require_data(directory)
            if directory.mask and number:
                _check_mask(reader, directory.mask, declared, where)
    with ExitStack() as stack:
        with of_page(number):
            dataset = stack.enter_context(_dataset(source, where, directory, number))
            mask = None
            if directory.mask and number:
                mask = stack.enter_context(_dataset(source, where, directory.mask, number))
                _require_bounded(mask, where, most)
            with _gdal(where, "GDAL cannot read its description"):
                stored = _stored(dataset, mask, where, declared)
            _require_bounded(dataset, where, most)
        yield replace(stored, page=number)


@dataclass(frozen=True)
class _Declared:
    """What the directory of a page says of it, by the names of the tags."""

    height: int
    width: int
    samples: int
    bits: int
    compression: int
    photometric: int
    orientation: int
    extra: tuple[int, ...]
    pages: int


def _declared(reader: Reader, directory: Directory, pages: int) -> _Declared:
    return _Declared(
        height=reader.first(directory, 257, 0),
        width=reader.first(directory, 256, 0),
        samples=reader.first(directory, 277, 1),
        bits=reader.first(directory, 258, 1),
        compression=reader.first(directory, 259, 1),
        photometric=reader.first(directory, 262, _BLACK),
        orientation=reader.first(directory, 274, 1),
        extra=tuple(reader.values(directory, 338, MAX_BANDS).tolist()),
        pages=pages,
    )


@contextmanager
def _reader(source: bytes | Path, where: Path) -> Iterator[Reader]:
    with ExitStack() as stack:
        try:
            if isinstance(source, bytes):
                yield Reader(io.BytesIO(source), len(source), where)
            else:
                stream = stack.enter_context(untrusted.opened(source, MAX_BYTES))
                yield Reader(stream, source.stat().st_size, where)
        except OSError as error:
            raise DataError(where, untrusted.problem(error), "Check the file and its permissions.") from None


def _pages(reader: Reader, where: Path) -> list[Directory]:
    if not (found := reader.pages()):
        raise DataError(where, "damaged: a TIFF without an image", AGAIN)
    described = _IMAGEJ.match(reader.values(found[0], _DESCRIPTION, _MOST_TEXT).tobytes())
    if described and (slices := int(described[1])) > len(found):
        problem = f"an ImageJ stack of {slices} slices in a TIFF of {len(found)} page{'s' * (len(found) != 1)}"
        raise DataError(where, problem, "Save it with a page for each slice, or each slice as a file of its own.")
    return found


def _page(found: list[Directory], page: int | None, where: Path) -> Directory:
    if page is None and len(found) > 1:
        raise DataError(where, f"{len(found)} pages, expected one image", "Save each page as a file of its own.")
    number = 1 if page is None else page
    if not 1 <= number <= len(found):
        raise DataError(where, f"no page {number}, as it has {len(found)}", "Export it again with all pages.")
    return found[number - 1]


def _check(declared: _Declared, where: Path, most: int) -> None:
    """Raises DataError for what cannot be read."""
    require_size(where, declared.height, declared.width, most)
    if not 1 <= declared.samples <= MAX_BANDS:
        raise DataError(where, f"{declared.samples} bands, expected 1 to {MAX_BANDS}", "Leave some out.")
    if declared.compression not in _COMPRESSIONS:
        known = ", ".join(sorted(set(_COMPRESSIONS.values()), key=str.lower))
        raise DataError(where, f"TIFF compression {declared.compression}, expected one of {known}", _CONVERT)
    needs_jpeg = declared.photometric == _YCBCR
    if declared.photometric not in _PHOTOMETRICS or (needs_jpeg and declared.compression != _JPEG):
        problem = f"TIFF colours of kind {declared.photometric}, expected gray, RGB, palette or CMYK"
        raise DataError(where, problem, _CONVERT)


def _check_mask(reader: Reader, mask: Directory, page: _Declared, where: Path) -> None:
    """Raises DataError for a mask inside the file that does not fit its page."""
    found = _declared(reader, mask, 1)
    if (found.height, found.width, found.samples) != (page.height, page.width, 1):
        problem = (
            f"damaged: a mask inside it of {found.width}x{found.height} pixels, expected {page.width}x{page.height}"
        )
        raise DataError(where, problem, AGAIN)
    reader.require_data(mask)


@contextmanager
def _dataset(source: bytes | Path, where: Path, directory: Directory, page: int | None) -> Iterator["DatasetReader"]:
    """A page, opened by GDAL for this caller alone."""
    import rasterio  # noqa: PLC0415 - 0.2 s, which only TIFF needs
    from rasterio.errors import NotGeoreferencedWarning  # noqa: PLC0415

    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # most images are not
    with ExitStack() as stack:
        name = str(source.absolute()) if isinstance(source, Path) else None
        with _gdal(where, "GDAL cannot open it"):
            if name is None:
                memory = rasterio.MemoryFile(source)
                stack.callback(memory.close)
                name = memory.name
            # Raw: colours as stored. Without a directory GDAL opens the first one, and takes any mask for its own.
            named = name if page is None else f"GTIFF_DIR:off:{directory.offset}:{name}"
            dataset = rasterio.open(f"GTIFF_RAW:{named}", driver="GTiff", sharing=False)
        stack.callback(dataset.close)
        yield dataset


@contextmanager
def _gdal(where: Path, problem: str) -> Iterator[None]:
    """GDAL with our options, for this thread; what it raises becomes a DataError.

    Never held while a caller reads: a generator may be continued, or closed, by another thread.
    """
    import rasterio  # noqa: PLC0415
    from rasterio.errors import RasterioError  # noqa: PLC0415

    try:
        with _WARNINGS.of_this_thread() as heard, rasterio.Env(**_OPTIONS):
            yield
    except (RasterioError, ValueError, MemoryError):
        raise DataError(where, f"damaged: {problem}", AGAIN) from None
    if heard:
        raise DataError(where, f"damaged: {heard[0]}", AGAIN)


def _require_bounded(dataset: "DatasetReader", where: Path, most: int) -> None:
    """Raises DataError if what must be in memory at once is too large."""
    pixel = sum(np.dtype(kind).itemsize for kind in dataset.dtypes)
    tall, wide = dataset.block_shapes[0]
    if (block := tall * wide * pixel) > MAX_BLOCK:
        problem = f"strips or tiles of {wide}x{tall} pixels and {block} bytes, expected at most {MAX_BLOCK}"
        raise DataError(where, problem, "Save it with smaller tiles: gdal_translate -co TILED=YES.")
    if (line := dataset.width * pixel) > MAX_LINE:
        raise DataError(where, f"lines of {line} bytes, expected at most {MAX_LINE}", "Cut it, or leave bands out.")
    if (size := dataset.height * dataset.width * pixel) > MAX_PIXEL * most:
        problem = f"{size} bytes of samples, expected at most {MAX_PIXEL * most}"
        raise DataError(where, problem, "Set preprocess.fit to tile.")


def _stored(dataset: "DatasetReader", mask: "DatasetReader | None", where: Path, declared: _Declared) -> Stored:
    """What the file stores; `mask` is that of a page, and None if GDAL finds it, or there is none."""
    kind, photometric = dataset.dtypes[0], declared.photometric
    if kind not in _SAMPLES or set(dataset.dtypes) != {kind}:
        raise DataError(where, f"{kind} samples, expected one of {', '.join(_SAMPLES)}", _CONVERT)
    if (dataset.count, *dataset.shape) != (declared.samples, declared.height, declared.width):
        raise DataError(where, f"damaged: GDAL finds {dataset.count} bands of {dataset.shape} pixels", AGAIN)
    alpha, position = _alpha(declared.extra, declared.samples)
    bands = declared.samples - (alpha is not None)
    colour, palette = _colour(dataset, where, photometric, bands)
    is_cmyk = photometric == _CMYK
    return Stored(
        format="TIFF",
        height=dataset.height,
        width=dataset.width,
        depth=min(declared.bits, 8 * np.dtype(kind).itemsize),
        dtype=np.dtype(kind),
        colour=colour,
        read=_windows(dataset, mask, where, position, is_cmyk=is_cmyk),
        bands=3 if is_cmyk else bands,
        orientation=declared.orientation if 1 <= declared.orientation <= 8 else 1,
        alpha=alpha,
        alpha_place=position if colour != "palette" and not is_cmyk and position < bands else None,
        palette=palette,
        zero_is_white=photometric == _WHITE,
        no_data=None if is_cmyk else _no_data(dataset),
        converted_from="CMYK" if is_cmyk else None,
        lossy=declared.compression == _JPEG,
        pages=declared.pages,
        georeference=_georeference(dataset),
        has_control_points=bool(dataset.gcps[0]) and dataset.transform.is_identity,
    )


def _alpha(extra: tuple[int, ...], samples: int) -> tuple[Literal["straight", "premultiplied"] | None, int]:
    """The kind of the first alpha channel and its place among the samples (338, ExtraSamples)."""
    for place, kind in enumerate(extra, start=samples - len(extra)):
        if kind in (1, 2) and place > 0:
            return ("premultiplied" if kind == 1 else "straight"), place
    return None, samples


def _colour(
    dataset: "DatasetReader", where: Path, photometric: int, bands: int
) -> tuple[Literal["gray", "RGB", "palette", "bands"], tuple[Rgb, ...]]:
    if photometric == _PALETTE:
        colours = dataset.colormap(1)
        return "palette", tuple(colours.get(index, (0, 0, 0, 0))[:3] for index in range(max(colours) + 1))
    if photometric == _CMYK and (bands != 4 or dataset.dtypes[0] != "uint8"):
        raise DataError(where, f"{bands} inks of {dataset.dtypes[0]}, expected 8-bit CMYK", _CONVERT)
    if photometric in (_WHITE, _BLACK):
        return ("gray" if bands == 1 else "bands"), ()
    return ("RGB" if bands == 3 or photometric == _CMYK else "bands"), ()


def _windows(dataset: "DatasetReader", mask: "DatasetReader | None", where: Path, alpha: int, *, is_cmyk: bool) -> Any:
    """`Stored.read`; `alpha` is the place of the alpha channel, which comes last. Inks have data unless all four are
    the no-data value: as RGB, they could not be compared with it."""
    from rasterio.enums import MaskFlags  # noqa: PLC0415
    from rasterio.windows import Window  # noqa: PLC0415

    order = [number for number in range(1, dataset.count + 1) if number != alpha + 1]
    order += [alpha + 1] * (alpha < dataset.count)
    has_mask = MaskFlags.per_dataset in dataset.mask_flag_enums[0] and MaskFlags.alpha not in dataset.mask_flag_enums[0]
    no_ink = _no_data(dataset) if is_cmyk else None

    def read(top: int, left: int, height: int, width: int) -> Samples:
        window, values = Window(left, top, width, height), np.empty((height, width, len(order)), dataset.dtypes[0])
        with _gdal(where, f"a strip or tile in rows {top} to {top + height - 1} cannot be decoded"):
            dataset.read(order, window=window, out=np.moveaxis(values, 2, 0))
            valid = dataset.read_masks(1, window=window) > 0 if has_mask else None
            valid = mask.read(1, window=window) > 0 if mask else valid
        if no_ink is not None:
            has_ink = (values[:, :, :4] != no_ink).any(axis=2)
            valid = has_ink if valid is None else valid & has_ink
        return Samples(_rgb(values) if is_cmyk else values, valid)

    return read


def _no_data(dataset: "DatasetReader") -> Any:
    """The value that marks samples without data; None if the file names none that can occur. NaN needs no mark."""
    kind, value = np.dtype(dataset.dtypes[0]), dataset.nodata
    if value is None or np.isnan(value):
        return None
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return kind.type(value)
    limits = np.iinfo(kind)
    return kind.type(value) if limits.min <= value <= limits.max and value == int(value) else None


def _rgb(cmyk: Array) -> Array:
    """CMYK, and alpha if there is one, as RGB: ink covers white. Integers only."""
    light = 255 - cmyk[:, :, :4].astype(np.uint16)
    rgb = ((light[:, :, :3] * light[:, :, 3:] + 127) // 255).astype(np.uint8)
    return np.concatenate([rgb, cmyk[:, :, 4:]], axis=2)


def _georeference(dataset: "DatasetReader") -> Georeference | None:
    if dataset.crs is None and dataset.transform.is_identity:
        return None
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    return Georeference(dataset.crs.to_wkt() if dataset.crs else None, (a, b, c, d, e, f))
