"""Folds divide images: each is in one, groups stay whole, classes are spread, and files move with their images."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.core.errors import DataError
from segline.dataset import processed, raw
from segline.reproducibility import folds
from segline.reproducibility.folds import Member
from tests import tiny


def member(number: int, group: str | None, pixels: tuple[int, ...] = (5, 5)) -> Member:
    stem = f"image{number}"
    pair = raw.Pair(stem, group, f"{stem}.png", f"{stem}-mask.png", f"{number:064x}", "0" * 64)
    return Member("train", pair, np.array(pixels, np.int64))


IMAGES = st.lists(
    st.tuples(st.sampled_from([None, "a", "b", "c", "d"]), st.tuples(*[st.integers(0, 100)] * 3)),
    min_size=3,
    max_size=40,
)


@given(IMAGES, st.integers(2, 5))
def test_groups_stay_whole_and_no_fold_is_empty(drawn, count):
    images = [member(number, group, pixels) for number, (group, pixels) in enumerate(drawn)]
    groups = {image.group for image in images}
    if len(groups) < count:
        with pytest.raises(DataError, match="expected at least one for each of"):
            folds.divide(images, count)
        return
    found = folds.divide(images, count)

    assert set(range(count)) == set(found)
    assert len({(image.group, fold) for image, fold in zip(images, found, strict=True)}) == len(groups)


def test_images_without_a_group_are_not_one_group():
    assert [2, 2] == sorted(Counter(folds.divide([member(number, None) for number in range(4)], 2)).values())


def test_equal_files_stay_together_with_the_groups_of_both():
    """Images 0 and 1, of groups a and b, are one picture; 2 and 3 are alone."""
    images = [member(number, group) for number, group in enumerate(["a", "b", None, None, "a", "b"])]
    images[1] = replace(images[1], pair=replace(images[1].pair, sha256_image=images[0].pair.sha256_image))
    found = folds.divide(images, 3)

    assert 1 == len({found[place] for place in (0, 1, 4, 5)})
    assert 3 == len(set(found))
    with pytest.raises(DataError, match="3 groups of images"):
        folds.divide(images, 4)


@given(st.permutations(range(20)))
def test_the_order_of_images_does_not_matter(order):
    draws = np.random.default_rng(0).integers(0, 50, (20, 3)).tolist()
    images = [member(number, f"g{number // 2}", tuple(draws[number])) for number in range(20)]
    expected = {image.pair.stem: fold for image, fold in zip(images, folds.divide(images, 4), strict=True)}
    turned = [images[number] for number in order]

    assert expected == {image.pair.stem: fold for image, fold in zip(turned, folds.divide(turned, 4), strict=True)}


def test_a_rare_class_is_in_every_fold_and_shares_are_nearer_than_by_chance():
    draws = np.random.default_rng(1)
    pixels = [(100, int(draws.integers(0, 60)), 10 * (number % 12 == 0)) for number in range(60)]
    images = [member(number, f"g{number // 3}", each) for number, each in enumerate(pixels)]
    found = np.array(folds.divide(images, 5))

    def spread(fold_of: np.ndarray) -> float:
        sums = np.stack([np.array(pixels)[fold_of == fold].sum(axis=0) for fold in range(5)])
        return float((sums / sums.sum(axis=0)).std(axis=0).max())

    by_chance = [spread(draws.permutation(20).repeat(3) % 5) for _ in range(200)]
    assert all(np.array(pixels)[found == fold, 2].any() for fold in range(5))
    assert spread(found) < np.percentile(by_chance, 10)


def test_pixels_are_those_of_the_masks(tmp_path, monkeypatch):
    tiny.begin(tmp_path, monkeypatch)
    data = raw.read(Path("data/raw"))
    images = folds.members(data, Path("data/processed"))

    assert {"train": 6, "val": 3, "test": 4} == Counter(image.split for image in images)
    for image in images:
        split = processed.read(Path(f"data/processed/{image.split}"))
        row = [origin.stem for origin in split.index.origins].index(image.pair.stem)
        counted = [int(((split.onehot[row][..., 0] >> k) & 1).sum()) for k in range(3)]
        assert counted == image.pixels.tolist()


def test_files_move_with_their_images(tmp_path):
    data = tiny.write_raw(tmp_path, {"train": 3, "test": 2})
    images = [Member(name, pair, np.ones(3, np.int64)) for name, pairs in data.splits.items() for pair in pairs]
    splits = ["val", "train", "test", "train", "test"]
    arranged = folds.arrange(tmp_path, data, images, splits)

    assert arranged == raw.read(tmp_path)
    assert {"val": 1, "train": 2, "test": 2} == {name: len(pairs) for name, pairs in arranged.splits.items()}
    assert {"dataset.json", "train", "val", "test"} == {path.name for path in tmp_path.iterdir()}
    for name, pairs in arranged.splits.items():
        for pair in pairs:
            content = (tmp_path / name / pair.image).read_bytes()
            assert pair.sha256_image == hashlib.sha256(content).hexdigest()
            assert pair.sha256_mask == hashlib.sha256((tmp_path / name / pair.mask).read_bytes()).hexdigest()


def test_equal_stems_of_two_splits_are_told_apart(tmp_path):
    data = tiny.write_raw(tmp_path, {"train": 1, "test": 1})
    same = {name: [replace(pair, stem="frame") for pair in pairs] for name, pairs in data.splits.items()}
    images = [Member(name, pairs[0], np.ones(3, np.int64)) for name, pairs in same.items()]
    arranged = folds.arrange(tmp_path, replace(data, splits=same), images, ["train", "train"])

    assert ["test/frame", "train/frame"] == [pair.stem for pair in arranged.splits["train"]]
