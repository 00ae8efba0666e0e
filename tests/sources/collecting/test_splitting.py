"""Pairs are divided by folder, by list or by ratio: the same way whatever the order of files and keys."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.core import params
from segline.core.errors import DataError, ParameterError, PipelineError, Problems
from segline.sources.collecting import splitting
from segline.sources.collecting.listing import Entry


class Section(params.Section):
    """A section with both, as data.folder is."""

    split: splitting.Form
    group: splitting.Group


def form(content: object, group: str = "") -> splitting.Form:
    return params.section({"x": {"split": content, "group": group}}, "x", Section).split


def ratio(seed: int = 1, **shares: float) -> splitting.ByRatio:
    return splitting.ByRatio(by="ratio", shares=shares, seed=seed)


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def flat(root: Path, stems: list[str]) -> Path:
    return touch(root, *(f"{kind}/{stem}.png" for kind in ("images", "masks") for stem in stems))


def divided(root: Path, how: splitting.Form, group: str = "") -> dict[str, list[str]]:
    pairs = splitting.entries(root, "images/*.png", "masks/*.png", how, group)
    return {split: [entry.stem for entry in entries] for split, entries in pairs.items()}


def test_by_folder(tmp_path):
    names = [f"{kind}/{split}/{split}{n}.png" for kind in ("i", "m") for split in ("train", "val") for n in range(2)]
    touch(tmp_path, *names, "i/extra/x.png")
    how = splitting.ByFolder(by="folder", names=["val", "train"])
    pairs = splitting.entries(tmp_path, "i/{split}/*.png", "m/{split}/*.png", how, "")

    assert pairs == {
        split: [Entry(f"{split}{n}", None, *(tmp_path / k / split / f"{split}{n}.png" for k in "im")) for n in range(2)]
        for split in ("val", "train")
    }


def test_by_lists_what_is_not_listed_is_left_out(tmp_path):
    flat(tmp_path, ["a", "b", "c", "d"])
    touch(tmp_path, "images/no_mask.png")
    (tmp_path / "train.txt").write_text("c\r\na\r\n")
    (tmp_path / "val.txt").write_text("b")

    assert divided(tmp_path, splitting.ByLists(by="lists", file="{split}.txt", names=["train", "val"])) == {
        "train": ["a", "c"],
        "val": ["b"],
    }


def test_by_lists_every_problem_is_told_at_once(tmp_path):
    flat(tmp_path, ["a", "b"])
    (tmp_path / "train.txt").write_text("a\nz\na\n")
    (tmp_path / "val.txt").write_text("b\na\n")

    with pytest.raises(Problems) as caught:
        divided(tmp_path, splitting.ByLists(by="lists", file="{split}.txt", names=["train", "val", "test"]))

    assert [str(problem).replace(f"{tmp_path}/", "").partition(". ")[0] for problem in caught.value.problems] == [
        "train.txt: line 3: duplicate stem 'a', already in train.txt: line 1",
        "val.txt: line 2: duplicate stem 'a', already in train.txt: line 1",
        "test.txt: no such list",
        "train.txt: line 2: no image images/z.png",
        "train.txt: line 2: no mask masks/z.png",
    ]


def test_a_missing_folder_is_told_once(tmp_path):
    (tmp_path / "train.txt").write_text("a\n")
    touch(tmp_path, "images/a.png")

    with pytest.raises(DataError, match=r"masks: no such folder\. Put the files of masks/\*\.png there"):
        divided(tmp_path, splitting.ByLists(by="lists", file="{split}.txt", names=["train"]))


def test_by_ratio_gives_each_split_its_share(tmp_path):
    flat(tmp_path, [f"{number:03d}" for number in range(100)])
    splits = divided(tmp_path, ratio(train=0.8, val=0.1, test=0.1))

    assert {"train": 80, "val": 10, "test": 10} == {split: len(stems) for split, stems in splits.items()}
    assert 100 == len({stem for stems in splits.values() for stem in stems})


def test_by_ratio_depends_on_the_seed_and_not_on_the_order_of_keys_or_files(tmp_path):
    stems = [f"{number:03d}" for number in range(30)]
    flat(tmp_path / "one", stems)
    flat(tmp_path / "two", stems[::-1])
    first = divided(tmp_path / "one", ratio(train=0.6, val=0.2, test=0.2))

    assert first == divided(tmp_path / "two", ratio(test=0.2, train=0.6, val=0.2))
    assert first != divided(tmp_path / "one", ratio(seed=2, train=0.6, val=0.2, test=0.2))


def test_by_ratio_the_draw_is_the_same_on_every_machine(tmp_path):
    flat(tmp_path, list("abcdefghij"))

    assert divided(tmp_path, ratio(train=0.5, val=0.5)) == {
        "train": ["a", "d", "g", "i", "j"],
        "val": ["b", "c", "e", "f", "h"],
    }


@given(
    sizes=st.lists(st.integers(1, 9), min_size=3, max_size=12),
    tenths=st.tuples(st.integers(1, 8), st.integers(1, 8)).filter(lambda pair: sum(pair) < 10),
    seed=st.integers(0, 2**32 - 1),
)
def test_groups_stay_whole_and_shares_are_met_within_a_group(sizes, tenths, seed):
    """Every pair is in one split, no group in two, and no split misses its share by more than a group at each end."""
    listed = [
        Entry(f"{group}_{number}", str(group), Path(), Path())
        for group, size in enumerate(sizes)
        for number in range(size)
    ]
    shares = {"train": tenths[0] / 10, "val": tenths[1] / 10, "test": (10 - sum(tenths)) / 10}
    exact = {split: Fraction(str(share)) for split, share in shares.items()}
    shared = splitting._shared_out(Path(), listed, exact, seed, [])
    homes = [{entry.group for entry in entries} for entries in shared.values()]

    assert sorted(entry.stem for entries in shared.values() for entry in entries) == sorted(e.stem for e in listed)
    assert sum(map(len, homes)) == len(set().union(*homes))
    for split, entries in shared.items():
        assert abs(len(entries) - Fraction(str(shares[split])) * len(listed)) <= max(sizes)


def test_a_split_that_comes_out_empty_is_an_error(tmp_path):
    flat(tmp_path, ["a_1", "a_2", "b_1", "b_2"])

    with pytest.raises(DataError, match=r"split test would be empty: 4 pairs in 2 groups\. Change the shares in"):
        divided(tmp_path, ratio(train=0.5, val=0.49, test=0.01), group="(.)_[0-9]")


def test_a_group_is_what_the_expression_matches(tmp_path):
    flat(tmp_path, ["v1_1", "v1_2", "v2_1"])
    pairs = splitting.entries(tmp_path, "images/*.png", "masks/*.png", ratio(train=1), r"(.+)_\d+")

    assert [("v1_1", "v1"), ("v1_2", "v1"), ("v2_1", "v2")] == [(e.stem, e.group) for e in pairs["train"]]


def test_a_stem_without_a_group_is_an_error_that_names_the_file(tmp_path):
    """A search that finds the expression anywhere would silently take `1` of `clip12_7` as a group."""
    flat(tmp_path, ["v1_1", "still"])

    with pytest.raises(
        DataError, match=r"images/still.png: stem 'still' has no group, expected the whole stem to match"
    ):
        divided(tmp_path, ratio(train=1), group=r"(.+)_\d+")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (3, "x.split: expected a section with by: folder | lists | ratio, got 3"),
        ({"by": "chance"}, "x.split.by: input should be folder | lists | ratio, got 'chance'"),
        ({"by": []}, "x.split.by: input should be folder | lists | ratio, got []"),
        ({"names": ["a"]}, "x.split.by: missing"),
        ({"by": "folder"}, "x.split.names: missing"),
        ({"by": "folder", "names": []}, "x.split.names: list should have at least 1 item"),
        ({"by": "folder", "names": ["a", "a"]}, "x.split.names: duplicate 'a'"),
        ({"by": "folder", "names": ["../a"]}, "x.split.names.0: string should match pattern"),
        ({"by": "folder", "names": ["a"], "seed": 1}, "x.split.seed: unknown key"),
        ({"by": "folder", "names": {}}, "x.split.names: dictionary should have at least 1 item"),
        ({"by": "folder", "names": "train"}, "x.split.names: input should be a valid list"),
        ({"by": "folder", "names": {"a": "x", "b": "x"}}, "x.split.names: duplicate 'x'"),
        ({"by": "folder", "names": {"a": "../x"}}, "x.split.names.a: expected a path below"),
        ({"by": "folder", "names": {"a": "x*"}}, "x.split.names.a: expected what {split} stands for"),
        ({"by": "folder", "names": {"a/b": "x"}}, "x.split.names.a/b"),
        ({"by": "folder", "names": {"a": 1}}, "x.split.names.a: input should be a valid string"),
        ({"by": "folder", "names": ["train"], "val_from_train": 0.2}, "x.split.seed: missing"),
        (
            {"by": "folder", "names": ["train"], "val_from_train": 1.0, "seed": 1},
            "x.split.val_from_train: input should",
        ),
        (
            {"by": "folder", "names": ["train", "val"], "val_from_train": 0.2, "seed": 1},
            "x.split: val_from_train makes val of a part of train: expected names with train and without val",
        ),
        ({"by": "lists", "names": ["a"], "file": "a.txt"}, "x.split.file: expected {split} in it"),
        ({"by": "lists", "names": ["a"], "file": "../{split}.txt"}, "x.split.file: expected a path below"),
        ({"by": "ratio", "shares": {"a": 0.5, "b": 0.4}, "seed": 1}, "the shares sum to 0.9, expected 1"),
        (
            {"by": "ratio", "shares": {"a": 1.5, "b": -0.5}, "seed": 1},
            "x.split.shares.b: input should be greater than 0",
        ),
        ({"by": "ratio", "shares": {}, "seed": 1}, "x.split.shares: dictionary should have at least 1 item"),
        ({"by": "ratio", "shares": {"a": 1}, "seed": -1}, "x.split.seed: input should be greater than or equal to 0"),
    ],
)
def test_a_form_that_is_none_is_named_by_its_key(content, expected):
    with pytest.raises(PipelineError) as caught:
        form(content)

    assert expected in str(caught.value)


def test_splits_may_be_called_otherwise_in_folders_and_lists(tmp_path):
    touch(tmp_path, *(f"{split}/{split}.{kind}" for split in ("train", "Test 2") for kind in ("jpg", "png")))
    flat(tmp_path, ["a", "b"])
    (tmp_path / "valid.txt").write_text("b\n")
    (tmp_path / "train.txt").write_text("a\n")
    by_folder = form({"by": "folder", "names": {"train": "train", "test": "Test 2"}})
    by_lists = form({"by": "lists", "file": "{split}.txt", "names": {"train": "train", "val": "valid"}})
    pairs = splitting.entries(tmp_path, "{split}/*.jpg", "{split}/*.png", by_folder, "")

    assert ["train", "test"] == splitting.names(by_folder)
    assert {"train": ["train"], "test": ["Test 2"]} == {name: [e.stem for e in each] for name, each in pairs.items()}
    assert {"train": ["a"], "val": ["b"]} == divided(tmp_path, by_lists)


def drawing(seed: int = 1, share: float = 0.25) -> splitting.Form:
    return form({"by": "folder", "names": {"train": "a", "test": "b"}, "val_from_train": share, "seed": seed})


def drawn(root: Path, how: splitting.Form, group: str = "") -> dict[str, list[str]]:
    pairs = splitting.entries(root, "{split}/*.jpg", "{split}/*.png", how, group)
    return {split: [entry.stem for entry in entries] for split, entries in pairs.items()}


def test_val_is_drawn_from_train_by_the_seed_alone(tmp_path):
    stems = [f"{number:02d}" for number in range(20)]
    for root, order in ((tmp_path / "one", stems), (tmp_path / "two", stems[::-1])):
        touch(root, *(f"a/{stem}.{kind}" for stem in order for kind in ("jpg", "png")), "b/t.jpg", "b/t.png")
    splits = drawn(tmp_path / "one", drawing())

    assert ["train", "test", "val"] == splitting.names(drawing())
    assert (15, 5, ["t"]) == (len(splits["train"]), len(splits["val"]), splits["test"])
    assert ["05", "13", "14", "15", "18"] == splits["val"], "the same on every machine"
    assert stems == sorted(splits["train"] + splits["val"])
    assert splits == drawn(tmp_path / "two", drawing())
    assert splits != drawn(tmp_path / "one", drawing(seed=2))


def test_val_takes_whole_groups_of_train(tmp_path):
    touch(tmp_path, *(f"a/v{v}_{n}.{kind}" for v in range(8) for n in range(3) for kind in ("jpg", "png")))
    touch(tmp_path, "b/v9_1.jpg", "b/v9_1.png")
    splits = drawn(tmp_path, drawing(), group="(.+)_[0-9]")
    videos = {split: {stem[:2] for stem in stems} for split, stems in splits.items()}

    assert 6 == len(splits["val"])
    assert not videos["train"] & videos["val"]


def test_a_train_too_small_to_draw_from_is_an_error(tmp_path):
    touch(tmp_path, "a/x.jpg", "a/x.png", "b/t.jpg", "b/t.png")

    with pytest.raises(DataError, match="split val would be empty: 1 pairs in 1 groups"):
        drawn(tmp_path, drawing())


def test_val_is_drawn_from_the_list_of_train(tmp_path):
    flat(tmp_path, list("abcdefgh"))
    (tmp_path / "train.txt").write_text("a\nb\nc\nd\n")
    content = {"by": "lists", "file": "{split}.txt", "names": ["train"], "val_from_train": 0.5, "seed": 1}
    splits = divided(tmp_path, form(content))

    assert ["a", "b", "c", "d"] == sorted(splits["train"] + splits["val"])
    assert 2 == len(splits["val"])


@pytest.mark.parametrize("shares", [{"a": 0.8, "b": 0.1, "c": 0.1}, {"a": 0.7, "b": 0.2, "c": 0.1}, {"a": 1.0}])
def test_shares_are_added_as_they_are_written(shares):
    assert shares == form({"by": "ratio", "shares": shares, "seed": 1}).shares


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("(", "not a regular expression"), ("a+", "it has 0"), ("(a)(b)", "it has 2"), ("(" * 3000, "not a regular")],
)
def test_an_expression_that_names_no_group_is_refused(expression, expected):
    with pytest.raises(ParameterError, match=expected):
        form({"by": "folder", "names": ["a"]}, group=expression)
