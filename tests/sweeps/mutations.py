"""Valid files changed at random: bytes, numbers and structure; and checksums put right, as whoever deceives would."""

import gzip
import hashlib
import re
import struct
import zlib

from tests.sweeps.tally import Random

STORED = re.compile(rb'"sha256": "([0-9a-f]{64})"')
WORDS = (
    *(b"-1", b"0", b"1e999", b"-0.0", b"48.5", b"NaN", b"Infinity", b"null", b"true", b'""', b"[]", b"{}"),
    *(b"99999999999999999999", b'"\\u0000"', b'"../../etc"', b'"\\ud800"', b"[" * 10_000, b'"' + b"x" * 10_000 + b'"'),
)
VALUE = re.compile(rb'-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|"[^"\n]*"|true|false|null|(?<=: )\w+')


def of_bytes(content: bytes, random: Random) -> bytes:
    """Up to four changes: bits flipped, bytes replaced, cut off, cut out, repeated or inserted."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(changed) + 1)
        end = min(len(changed), start + random.choice((1, 2, 4, 16, 256)))
        match random.randrange(6):
            case 0 if start < len(changed):
                changed[start] ^= 1 << random.randrange(8)
            case 1:
                changed[start:end] = random.randbytes(end - start)
            case 2:
                del changed[start:]
            case 3:
                del changed[start:end]
            case 4:
                changed[start:start] = changed[start:end] * random.choice((1, 2, 100))
            case _:
                changed[start:start] = random.choice((b"\x00", b"\xff\xff\xff\xff", b"\n", b"\r", *WORDS))
    return bytes(changed)


def of_numbers(content: bytes, random: Random) -> bytes:
    """Up to three numbers of 1 to 8 bytes, such as sizes and offsets, made small, large or extreme; or bytes."""
    if random.random() < 0.4:
        return of_bytes(content, random)
    changed = bytearray(content)
    for _ in range(random.randint(1, 3)):
        size = random.choice((1, 2, 4, 8))
        value = random.choice(
            (0, 1, 2, 3, 255, 1 << 8 * size - 1, (1 << 8 * size) - 1, random.randrange(1 << 8 * size))
        )
        start = random.randrange(max(1, len(changed) - size))
        changed[start : start + size] = min(value, (1 << 8 * size) - 1).to_bytes(size, random.choice(("little", "big")))
    return bytes(changed)


def of_text(content: bytes, random: Random) -> bytes:
    """One or two values replaced by others; or `of_bytes`."""
    if random.random() < 0.3:
        return of_bytes(content, random)
    for _ in range(random.randint(1, 2)):
        places = list(VALUE.finditer(content))
        if places:
            place = random.choice(places)
            content = content[: place.start()] + random.choice(WORDS) + content[place.end() :]
    return content


def of_png(content: bytes, random: Random) -> bytes:
    """Bytes; or one chunk of a PNG (removed, repeated, changed), its checksum valid."""
    if random.random() < 0.4:
        return of_bytes(content, random)
    chunks, position = [], 8
    while position < len(content):
        (size,) = struct.unpack(">I", content[position : position + 4])
        chunks.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + size]))
        position += size + 12
    place = random.randrange(len(chunks))
    kind, data = chunks[place]
    match random.randrange(4):
        case 0:
            del chunks[place]
        case 1:
            chunks.insert(random.randrange(len(chunks)), chunks[place])
        case 2 if kind == b"IDAT":
            chunks[place] = kind, zlib.compress(of_bytes(zlib.decompress(data), random))
        case _:
            chunks[place] = kind, of_bytes(data, random)
    return content[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def of_gzip(content: bytes, random: Random) -> bytes:
    """Bytes; or what is inside, its checksum valid."""
    if random.random() < 0.3:
        return of_bytes(content, random)
    return gzip.compress(of_bytes(gzip.decompress(content), random), 1)


def sealed(text: bytes, others: bytes = b"") -> bytes:
    """The text with the digest that `segline.core.seal` expects of it, if it has a place for one."""
    stored = STORED.search(text)
    if stored is None:
        return text
    return text.replace(stored[1], hashlib.sha256(text.replace(stored[1], b"") + others).hexdigest().encode())
