"""The header of a PNG or JPEG file, read before any decoder runs: size, colours, and whether the file is complete.

Why not leave this to the decoder: OpenCV silently scales 4-bit masks, turns palettes into colours, drops alpha, halves
16-bit values and rotates images by their Exif tag.
"""

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from segline.core.errors import DataError
from segline.dataset.raw import FORMATS

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
AGAIN = "Copy or export the file again."
CMYK_OF_UNKNOWN_SENSE = "CMYK without Adobe's mark"

_PNG_COLOURS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGB with alpha"}
_JPEG_COLOURS = {1: "gray", 3: "RGB", 4: "CMYK"}
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0..15 without DHT, JPG, DAC
_JPEG_DECODED = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive
_APP1, _APP14, _SCAN, _END = 0xE1, 0xEE, 0xDA, 0xD9
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # within a scan; FF00 is data, FFD0..D7 restart
_PILLOW_WARNS = Lock()  # of broken blocks; warnings are silenced for the whole process, by one thread at a time


@dataclass(frozen=True)
class Header:
    """`depth` is bits a sample; `colour` a name such as "gray", "RGB", "palette"; `orientation` 1 = upright (Exif)."""

    format: str
    height: int
    width: int
    depth: int
    colour: str
    orientation: int = 1


def inspect(content: bytes, where: Path) -> Header:
    """The header of a PNG or JPEG file whose container is intact from the first byte to the last.

    Raises DataError for anything else: another format or extension, cut, damaged, animated, followed by other data.
    """
    if not content:
        raise DataError(where, "empty file, expected an image", AGAIN)
    try:
        if content.startswith(PNG):
            header = _png(content, where)
        elif content.startswith(JPEG):
            header = _jpeg(content, where)
        else:
            known = f"{', '.join([*FORMATS][:-1])} or {[*FORMATS][-1]}"
            problem = f"not an image, starts with {content[:16]!r}, expected {known}"
            raise DataError(where, problem, "Convert it to PNG, or fetch it again if this is an error page.")
    except (struct.error, IndexError):
        raise DataError(where, "cut or damaged in its header", AGAIN) from None
    require_suffix(header.format, where)
    if not header.height or not header.width:
        raise DataError(where, f"{header.width}x{header.height} pixels, expected at least 1x1", AGAIN)
    return header


def require_suffix(format_name: str, where: Path) -> None:
    """Raises DataError if the name of a file of this format ends in another way."""
    if where.suffix.lower() not in (known := FORMATS[format_name]):
        problem = f"contains {format_name} data, so its name must end in {' or '.join(known)}"
        raise DataError(where, problem, "Rename it.")


def _png(content: bytes, where: Path) -> Header:
    """Checks the chunks (PNG 3rd edition, section 5): lengths, CRCs, IHDR first and once, nothing after IEND."""
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    name, orientation, position, kind = _PNG_COLOURS.get(colour, f"colour type {colour}"), 1, len(PNG), b""
    view = memoryview(content)
    while kind != b"IEND":
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 12 + length
        if end > len(content):
            raise DataError(where, f"cut: the file ends {end - len(content)} bytes too early", AGAIN)
        first, kind = not kind, content[position + 4 : position + 8]
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]:
            raise DataError(where, f"damaged: wrong checksum in chunk {kind!r} at byte {position}", AGAIN)
        if first != (kind == b"IHDR"):
            raise DataError(where, f"damaged: chunk {kind!r} at byte {position}, expected IHDR first and once", AGAIN)
        if kind == b"acTL":
            raise DataError(where, "an animated PNG, expected one image", "Export a single frame.")
        if kind == b"tRNS" and name != "palette":
            if length != {"gray": 2, "RGB": 6}.get(name):
                raise DataError(where, f"damaged: a transparent colour of {length} bytes for {name}", AGAIN)
            name = f"{name} with a transparent colour"
        if kind == b"eXIf":
            orientation = exif_orientation(content[position + 8 : end - 4])
        position = end
    refuse_rest(content, position, where)
    return Header("PNG", height, width, depth, name, orientation)


def palette_as_gray(content: bytes) -> bytes:
    """An inspected palette PNG as the gray PNG whose samples are its palette indices: both are stored the same way.

    A decoder would return the colours instead of the indices.
    """
    parts = [PNG]
    for kind, data in _chunks(content):
        if kind == b"IHDR":
            data = data[:9] + b"\0" + data[10:]  # noqa: PLW2901 - colour type: gray
        if kind in (b"IHDR", b"IDAT", b"IEND"):
            parts.append(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
    return b"".join(parts)


def palette(content: bytes) -> list[tuple[int, int, int]]:
    """The colours of an inspected PNG's palette, by index; empty if it has none."""
    data = next((data for kind, data in _chunks(content) if kind == b"PLTE"), b"")
    return list(struct.iter_unpack("3B", data[: len(data) // 3 * 3]))


def transparency(content: bytes) -> bytes:
    """The transparent colour of an inspected PNG, or the alpha of its palette's colours; empty if it has neither."""
    return next((data for kind, data in _chunks(content) if kind == b"tRNS"), b"")


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of each chunk of an inspected PNG."""
    position = len(PNG)
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        yield content[position + 4 : position + 8], content[position + 8 : position + 8 + length]
        position += 12 + length


def _jpeg(content: bytes, where: Path) -> Header:
    """Checks the markers (ITU-T T.81, annex B) up to EOI, and that nothing follows it."""
    header, orientation, position, marker = None, 1, 2, 0
    is_adobe = False
    while marker != _END:
        if content[position] != 0xFF:
            raise DataError(where, f"damaged: no marker at byte {position}", AGAIN)
        while content[position] == 0xFF:
            position += 1
        marker = content[position]
        position += 1
        if marker == _END:
            break
        (length,) = struct.unpack_from(">H", content, position)
        payload = position + 2
        if marker in _JPEG_FRAMES:
            header = _jpeg_frame(marker, content, payload, where)
        elif marker == _APP1 and content.startswith(b"Exif\0\0", payload):
            orientation = exif_orientation(content[payload + 6 : position + length])
        elif marker == _APP14 and content.startswith(b"Adobe", payload):
            is_adobe = True
        position += length
        if marker == _SCAN:
            next_marker = _NEXT_MARKER.search(content, position)
            if next_marker is None:
                raise DataError(where, "cut: the end-of-image marker is missing", AGAIN)
            position = next_marker.start()
    if header is None:
        raise DataError(where, "damaged: a JPEG without an image", AGAIN)
    refuse_rest(content, position, where)
    colour = header.colour if is_adobe or header.colour != "CMYK" else CMYK_OF_UNKNOWN_SENSE
    return Header(header.format, header.height, header.width, header.depth, colour, orientation)


def _jpeg_frame(marker: int, content: bytes, payload: int, where: Path) -> Header:
    if marker not in _JPEG_DECODED:
        problem = f"a JPEG of kind SOF{marker - 0xC0}, expected baseline or progressive"
        raise DataError(where, problem, "Export it as PNG.")
    depth, height, width, components = struct.unpack_from(">BHHB", content, payload)
    return Header("JPEG", height, width, depth, _JPEG_COLOURS.get(components, f"{components} components"))


def refuse_rest(content: bytes, end: int, where: Path) -> None:
    """Raises DataError if anything follows the image, which ends at `end`."""
    if rest := len(content) - end:
        raise DataError(where, f"{rest} bytes follow the end of the image", "Save it again with an image program.")


def exif_orientation(block: bytes) -> int:
    """The orientation 1..8 in an Exif block; 1 if it has none or is broken."""
    if not block:
        return 1
    from PIL import ExifTags, Image  # noqa: PLC0415 - 0.1 s, which only photos with an Exif block need

    with _PILLOW_WARNS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exif = Image.Exif()
            exif.load(block)
            orientation = exif.get(ExifTags.Base.Orientation)
        except Exception:  # noqa: BLE001 - Pillow documents no exceptions for broken blocks
            return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
