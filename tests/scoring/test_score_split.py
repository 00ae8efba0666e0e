"""Evaluation reads raw masks as preprocess did, whatever their encoding."""

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segline.dataset import onehot, processed, raw
from segline.preprocessing import pairs, split_writer
from segline.scoring import evaluation, score_split
from tests import tiny
from tests.preprocessing.test_headers import chunk
from tests.preprocessing.test_images import encoded, stored

TRUTH = np.arange(2).repeat(9)[:, None].repeat(30, axis=1)
PALETTE = chunk(b"PLTE", bytes([7, 8, 9, 200, 0, 0]))
SMEARED = cv2.GaussianBlur((TRUTH * 255).astype(np.uint8), (3, 3), 0)


@pytest.mark.parametrize(
    ("mask", "extension", "changes"),
    [
        (stored(TRUTH, 8, 3, PALETTE), ".png", {"encoding": "palette", "values": (0x070809, 0xC80000)}),
        (encoded(SMEARED), ".png", {"values": (0, 1), "threshold": 127}),
        (encoded(SMEARED, ".jpg"), ".jpg", {"values": (0, 1), "threshold": 127}),
    ],
)
def test_a_perfect_prediction_is_perfect_at_the_resolution_of_the_masks(tmp_path, mask, extension, changes):
    data = tiny.write_raw(tmp_path / "raw", {"test": 2})
    listed = [
        replace(pair, mask=f"masks/{pair.stem}{extension}", sha256_mask=hashlib.sha256(mask).hexdigest())
        for pair in data.splits["test"]
    ]
    for path in (tmp_path / "raw/test/masks").iterdir():
        path.unlink()
    for pair in listed:
        (tmp_path / "raw/test" / pair.mask).write_bytes(mask)
    data = replace(data, classes=data.classes[:2], void=None, splits={"test": listed}, **changes)
    raw.write(tmp_path / "raw", data)
    section = pairs.Section(height=18, width=30, channels=3, void="ignore", merge={})
    split_writer.write(tmp_path / "raw", tmp_path / "out", pairs.recipe(Path("raw"), data, section), data)
    split = processed.read(tmp_path / "out/test")
    logits = [torch.from_numpy(10.0 * np.eye(2, dtype=np.float32)[TRUTH]).permute(2, 0, 1)] * 2

    _, _, own = score_split.score(tmp_path / "raw/test", split, logits)

    np.testing.assert_array_equal(onehot.unpack(split.onehot, 2)[0], TRUTH)
    assert [[[270, 0], [0, 270]]] * 2 == own.tolist()
    assert (data.threshold is None) == (
        evaluation.data_hash(split.index) == evaluation.data_hash(replace(split.index, threshold=None))
    )
