"""Evaluation reads raw masks as preprocess did, and counts each pixel of an image once."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
import torch
import torch.nn.functional as F
from PIL import Image

from segline.dataset import onehot, processed, raw
from segline.model import forward, stitching
from segline.preprocessing import pairs, split_writer
from segline.scoring import confusion, evaluation, score_split
from tests import tiny
from tests.preprocessing.image_files.test_headers import chunk
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
    section = pairs.Section.model_validate(tiny.PARAMETERS["preprocess"] | {"height": 18, "width": 30})
    split_writer.write(tmp_path / "raw", tmp_path / "out", pairs.recipe(Path("raw"), data, section), data)
    split = processed.read(tmp_path / "out/test")
    logits = [torch.from_numpy(10.0 * np.eye(2, dtype=np.float32)[TRUTH]).permute(2, 0, 1)] * 2

    predictions: list[np.ndarray] = []
    scored = score_split.score(tmp_path / "raw/test", split, logits, None, predictions.append, temperature=1.0)

    np.testing.assert_array_equal(onehot.unpack(split.onehot, 2)[0], TRUTH)
    np.testing.assert_array_equal([TRUTH] * 2, predictions)
    assert [[[270, 0], [0, 270]]] * 2 == scored.own.tolist() == scored.working.tolist()
    assert scored.seam_disagreement == 0
    assert (data.threshold is None) == (
        evaluation.data_hash(split.index) == evaluation.data_hash(replace(split.index, threshold=None))
    )


def tiled(folder: Path, images: dict[str, tuple[bytes, bytes]], **changes: Any) -> processed.Split:
    """A processed split of tiles of 64x64 from the files (image, mask) by name; the classes are tiny's first two."""
    for kind in ("images", "masks"):
        (folder / "raw/test" / kind).mkdir(parents=True)
    listed = []
    for name, contents in images.items():
        paths = [f"{kind}/{name}" for kind in ("images", "masks")]
        for path, content in zip(paths, contents, strict=True):
            (folder / "raw/test" / path).write_bytes(content)
        hashes = (hashlib.sha256(content).hexdigest() for content in contents)
        listed.append(raw.Pair(Path(name).stem, None, *paths, *hashes))
    data = raw.Dataset("tiles", tiny.CLASSES[:2], (0, 1), tiny.VOID, "index", {"test": listed})
    raw.write(folder / "raw", data)
    form = {"fit": "tile", "height": 64, "width": 64, "bands": "gray"} | changes
    section = pairs.Section.model_validate(tiny.PARAMETERS["preprocess"] | form)
    split_writer.write(folder / "raw", folder / "out", pairs.recipe(folder / "raw", data, section), data)
    return processed.read(folder / "out/test")


def drawn(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image and a mask of two classes and void."""
    rng = np.random.default_rng([height, width])
    image = rng.integers(0, 256, (height, width), np.uint8)
    return image, rng.choice(np.array([0, 1, tiny.VOID.value], np.uint8), (height, width))


def scored(folder: Path, split: processed.Split) -> tuple[score_split.Scored, np.ndarray, list[torch.Tensor]]:
    """What comes of random logits, the predictions, and the logits."""
    draw = torch.Generator().manual_seed(1)
    logits = [torch.randn(2, 64, 64, generator=draw) for _ in split.images]
    predictions: list[np.ndarray] = []
    result = score_split.score(folder / "raw/test", split, iter(logits), 5, predictions.append, temperature=1.0)
    return result, np.array(predictions), logits


def test_tiles_are_counted_as_the_stitched_image_is(tmp_path):
    """At scale 1 both resolutions are that of the mask; each pixel counts once, and the rows are cut from one image."""
    drawings = {f"{name}.png": drawn(*size) for name, size in {"a": (100, 150), "b": (40, 64), "c": (64, 200)}.items()}
    split = tiled(tmp_path, {name: (encoded(image), encoded(mask)) for name, (image, mask) in drawings.items()})
    result, predictions, logits = scored(tmp_path, split)

    windows, seen = iter(logits), []
    for number, (_, mask) in enumerate(drawings.values()):
        grid = split.index.grid(number)
        bands = stitching.bands(grid, [next(windows) for _ in grid.windows], 5)
        classes = np.concatenate([forward.classes(band[None])[0] for band in bands])
        expected = confusion.count(mask, classes, 2)
        assert expected.tolist() == result.own[number].tolist() == result.working[number].tolist()
        whole = np.zeros((grid.tops[-1] + 64, grid.lefts[-1] + 64), np.uint8)
        whole[: mask.shape[0], : mask.shape[1]] = classes
        seen += [whole[top : top + 64, left : left + 64] for top, left in grid.windows]
    np.testing.assert_array_equal(seen, predictions)
    assert [12, 1, 6] == [split.index.grid(number).count for number in range(3)]
    assert 0.2 < result.seam_disagreement < 0.8  # two tiles of random logits differ on half the pixels


def test_scaled_tiles_are_counted_at_the_resolution_of_the_masks(tmp_path):
    image, mask = drawn(150, 201)
    split = tiled(tmp_path, {"a.png": (encoded(image), encoded(mask))}, scale=0.5)
    result, _, logits = scored(tmp_path, split)
    grid = split.index.grid(0)
    working = torch.cat([band.clone() for band in stitching.bands(grid, logits, 5)], dim=1)
    padded = F.pad(working, (0, 1, 0, 0), mode="replicate")  # 201 pixels are 101 of 2 each, of which one sticks out
    own = F.interpolate(padded[None], scale_factor=2, mode="bilinear", align_corners=False)[..., :150, :201]
    truth = mask[1::2, 1::2]

    assert (75, 101) == grid.working
    assert confusion.count(mask, forward.classes(own)[0], 2).tolist() == result.own[0].tolist()
    assert np.count_nonzero(mask != tiny.VOID.value) == result.own.sum()
    assert abs(np.count_nonzero(truth != tiny.VOID.value) - result.working.sum()) <= len(truth)


def geotiff(pixels: np.ndarray, no_data: int | None) -> bytes:
    height, width = pixels.shape
    form = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8", "nodata": no_data}
    with rasterio.io.MemoryFile() as file:
        with file.open(**form, transform=rasterio.Affine.scale(2)) as dataset:  # rasterio warns without one
            dataset.write(pixels, 1)
        return bytes(file.read())


def test_pixels_without_data_do_not_count_and_neither_does_padding(tmp_path):
    image, _ = drawn(70, 90)
    image = np.maximum(image, 1)
    image[20:30, 40:60] = 0
    split = tiled(tmp_path, {"a.tif": (geotiff(image, 0), geotiff(np.ones_like(image), None))})
    result, _, _ = scored(tmp_path, split)

    assert split.index.origins[0].no_data
    assert 70 * 90 - 10 * 20 == result.own.sum() == result.working.sum()


def test_each_page_is_scored_against_its_own_page_of_the_masks(tmp_path):
    image, mask = drawn(64, 64)
    pages = [np.zeros_like(mask), mask, np.ones_like(mask)]

    def stacked(arrays: list[np.ndarray]) -> bytes:
        first, *rest = (Image.fromarray(array) for array in arrays)
        content = io.BytesIO()
        first.save(content, "TIFF", save_all=True, append_images=rest)
        return content.getvalue()

    split = tiled(tmp_path, {"a.tif": (stacked([image, image // 2, image // 3]), stacked(pages))})
    logits = [torch.from_numpy(np.stack([page == 0, page == 1]).astype(np.float32)) for page in pages]
    predictions: list[np.ndarray] = []
    result = score_split.score(tmp_path / "raw/test", split, logits, None, predictions.append, temperature=1.0)

    assert [1, 2, 3] == [origin.page for origin in split.index.origins]
    for page, own in zip(pages, result.own, strict=True):
        assert [[np.count_nonzero(page == 0), 0], [0, np.count_nonzero(page == 1)]] == own.tolist()


def test_rows_are_written_before_the_next_line_of_tiles_is_computed(tmp_path):
    """So memory does not grow with the number of rows."""
    image, mask = drawn(64 * 4, 64)
    split = tiled(tmp_path, {"a.png": (encoded(image), encoded(mask))}, overlap=0.0)
    events: list[str] = []

    def logits() -> Iterator[torch.Tensor]:
        for _ in split.index.rows:
            events.append("computed")
            yield torch.zeros(2, 64, 64)

    score_split.score(tmp_path / "raw/test", split, logits(), None, lambda _: events.append("written"), temperature=1.0)

    assert ["computed", "written"] * 4 == events
