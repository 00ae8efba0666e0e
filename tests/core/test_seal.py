"""A sealed JSON text shows every change of it and of what belongs to it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.core import seal

CONTENTS = st.dictionaries(st.text(max_size=4), st.text(max_size=4) | st.integers() | st.none(), max_size=4)


@given(CONTENTS, st.binary(max_size=4), st.sampled_from([None, 1]))
def test_what_was_sealed_is_intact_and_its_content_unchanged(content, others, indent):
    text = seal.dumps(content, others, indent)

    assert seal.is_intact(text, others) is True
    assert seal.is_intact(text, others + b"x") is False
    assert {**content, seal.KEY: json.loads(text)[seal.KEY]} == json.loads(text)


def test_a_key_of_the_same_name_within_is_content():
    """Such as a parameter of a network."""
    text = seal.dumps({"parameters": {"sha256": "a" * 64}, "std": 1})

    assert seal.is_intact(text) is True
    assert seal.is_intact(text.replace("a" * 64, "b" * 64)) is False


def test_the_order_of_keys_does_not_matter():
    assert seal.dumps({"a": 1, "b": 2}) == seal.dumps({"b": 2, "a": 1})


@pytest.mark.parametrize("indent", [None, 1])
def test_a_flipped_bit_is_noticed_or_breaks_the_json_or_the_key(indent):
    content = {"name": "\u00e9 1e-05", "scale": 1e-5, "rows": [{"sha256_mask": "a" * 64}]}
    text = seal.dumps(content, indent=indent).encode()
    for bit in np.random.default_rng(0).permutation(8 * len(text))[:1000]:
        changed = bytearray(text)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            read = changed.decode()
            parsed = json.loads(read)
        except ValueError:
            continue
        if seal.is_intact(read) is None:
            assert (
                content.keys() | {seal.KEY} != parsed.keys() or len(parsed[seal.KEY]) != 64 or not hexadecimal(parsed)
            )
        else:
            assert seal.is_intact(read) is False


def hexadecimal(parsed: dict[str, str]) -> bool:
    return set(parsed[seal.KEY]) <= set("0123456789abcdef")


def test_a_text_without_a_digest_is_neither_intact_nor_damaged():
    assert seal.is_intact('{"sha256": null}') is None
    assert seal.is_intact('{"name": "\\"sha256\\": \\"' + "a" * 64 + '\\""}') is None
