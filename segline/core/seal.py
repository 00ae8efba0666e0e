"""JSON that carries a SHA-256 of itself and of what belongs to it, so that its reader finds every changed bit."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

KEY = "sha256"
_STORED = re.compile(rf'"{KEY}": "([0-9a-f]{{64}})"')


def dumps(content: Mapping[str, Any], others: bytes = b"", indent: int | None = None) -> str:
    """The JSON of `content`, keys sorted, with a digest under `KEY`: of this text without it, then of `others`."""
    blank = json.dumps({**content, KEY: ""}, indent=indent, sort_keys=True)
    place = blank.rindex(f'"{KEY}": ""') + len(f'"{KEY}": "')  # the last under that key: see `is_intact`
    return blank[:place] + _digest(blank, others) + blank[place:]


def is_intact(text: str, others: bytes = b"") -> bool | None:
    """Whether the digest in the text is that of the text and `others`; None if there is no digest.

    Keys are sorted, and what comes after the digest has no keys of a user's choice: so it is the last under `KEY`.
    """
    if not (found := list(_STORED.finditer(text))):
        return None
    stored = found[-1]
    return _digest(text[: stored.start(1)] + text[stored.end(1) :], others) == stored[1]


def _digest(text: str, others: bytes) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass") + others).hexdigest()
