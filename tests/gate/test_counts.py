"""Reading both sides: what evaluate writes is accepted, and whatever is unsound is refused and named."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import gate_broken
from segline.core.errors import DataError, ParameterError, PipelineError
from segline.gate import counts, pairing, saved_metrics
from segline.gate.saved_metrics import Saved
from segline.scoring import confusion
from stages import evaluate, train
from tests import tiny
from tests.gate import sides

ROOT = Path(__file__).parents[2]
TRUE = sides.truth()
GOOD = sides.predicted(TRUE, 0.8)


def saved(folder: Path) -> Saved:
    return saved_metrics.in_folder(folder, folder.name, "Fix it.")


def refusal(base: Path, candidate: Path) -> str:
    with pytest.raises(PipelineError) as caught:
        pairing.pair(saved(base), saved(candidate))
    return str(caught.value)


@pytest.fixture
def both(tmp_path) -> tuple[Path, Path]:
    """Two good sides of the same evaluation."""
    return sides.save(tmp_path / "base", GOOD), sides.save(tmp_path / "candidate", sides.predicted(TRUE, 0.7, 2))


@pytest.mark.slow
def test_what_the_evaluate_stage_writes_is_read_back(tmp_path, monkeypatch):
    tiny.begin(tmp_path, monkeypatch)
    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)
    side = counts.read(saved(Path("metrics")))
    scores = json.loads(Path("metrics/eval.json").read_text())
    total = side.counts.sum(axis=0)

    assert ("dark", "middle", "bright") == side.classes
    assert tuple(f"test{row}" for row in range(4)) == side.stems
    assert scores["accuracy"] == pytest.approx(float(confusion.accuracy(total)), abs=1e-6)
    assert scores["miou"] == pytest.approx(float(confusion.miou(total)), abs=1e-6)
    assert scores["cost"] == side.cost


def test_the_committed_metrics_are_sound():
    folder = ROOT / "metrics"
    pair = pairing.pair(saved(folder), saved(folder))

    assert str(len(pair.base.stems)) == pair.protocol["images"]
    assert list(pair.base.stems) == sorted(pair.base.stems)


def test_the_order_of_images_does_not_matter(both):
    base, candidate = both
    expected = pairing.pair(saved(base), saved(candidate))
    path = candidate / "per_image.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows[::-1]]) + "\n")

    reordered = pairing.pair(saved(base), saved(candidate))
    assert expected.candidate.stems == reordered.candidate.stems
    assert np.array_equal(expected.candidate.counts, reordered.candidate.counts)


def test_windows_line_ends_do_not_matter(both):
    base, candidate = both
    for name in ("eval.json", "per_image.csv"):
        path = candidate / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert len(pairing.pair(saved(base), saved(candidate)).base.stems) == 20


def test_groups_are_read(tmp_path):
    groups = ["a", "a", None] + ["b"] * 17
    pair = sides.pair(tmp_path, GOOD, GOOD, groups)

    assert tuple(groups) == pair.base.groups


@pytest.mark.parametrize("kind", sorted(set(gate_broken.kinds()) - {"no folder"}))
def test_every_broken_kind_is_refused_on_either_side(both, kind):
    """As a base and as a candidate, with a place and a remedy."""
    base, candidate = both
    gate_broken.kinds()[kind](base)
    there, back = refusal(base, candidate), refusal(candidate, base)

    assert re.search(r"base|protocol", there)
    assert re.search(r"base|protocol", back)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("eval.json missing", "eval.json: missing. Fix it."),
        ("eval.json empty", "eval.json: empty. Fix it."),
        ("binary garbage", "eval.json: not UTF-8 at byte 0. Fix it."),
        ("merge conflict", "eval.json: contains an unresolved merge conflict."),
        ("a folder instead of a file", "eval.json: a folder, expected a file. Fix it."),
        ("NaN", "eval.json: contains NaN, expected finite numbers. Fix it."),
        ("miou missing", "eval.json: miou: field required. Fix it."),
        ("no protocol", "eval.json: protocol: expected an object of strings. Fix it."),
        ("other schema", "eval.json: protocol.schema is '0', but this gate reads '1'."),
        ("per_image.csv with a header alone", "per_image.csv: no images. Fix it."),
        ("an image twice", "per_image.csv: duplicate image 'frame-00'. Fix it."),
        ("an image less", "eval.json: protocol.images is 20, but per_image.csv has 19."),
        ("scores of another run", "eval.json: miou is 0.123, but the counts of per_image.csv give 0."),
        ("counts that do not add up", "per_image.csv: image 'frame-00': expected as many fp as fn"),
        (
            "other class list",
            "eval.json: iou.renamed: expected IoU for exactly the classes with true pixels in per_image.csv.",
        ),
        ("other split", "base and candidate: protocol.split: 'elsewhere' and 'test' (split scored)."),
    ],
)
def test_a_refusal_says_what_and_where(both, kind, sentence):
    gate_broken.kinds()[kind](both[0])

    assert sentence in refusal(*both)


def test_each_difference_of_protocol_is_named_before_any_number_is_looked_at(both):
    base, candidate = both
    sides.edit(base, lambda content: content["protocol"].update(void="ignored", split="val", extra="new"))
    (base / "per_image.csv").write_text("rubbish")

    said = refusal(base, candidate)
    assert "protocol.void: 'ignored' and 'none' (void (unlabelled) pixels)" in said
    assert "protocol.split: 'val' and 'test' (split scored)" in said
    assert "protocol.extra: 'new' and missing" in said
    assert "rubbish" not in said


def test_images_without_a_match_are_counted_and_named(tmp_path):
    """Only reached if the protocols are equal."""
    base, candidate = sides.save(tmp_path / "base", GOOD), sides.save(tmp_path / "candidate", GOOD)
    path = candidate / "per_image.csv"
    text = path.read_text()
    for row in range(7):
        text = text.replace(f"frame-{row:02d}", f"other-{row:02d}")
    path.write_text(text)

    expected = (
        "different images: only the base has 7 images: frame-00, frame-01, frame-02, frame-03, frame-04 and 2 more; "
        "only the candidate has 7 images: other-00,"
    )
    assert expected in refusal(base, candidate)


def test_class_lists_that_differ_are_named(tmp_path):
    base = sides.save(tmp_path / "base", GOOD)
    candidate = sides.save(tmp_path / "candidate", GOOD, ("sky", "street", "car"))
    document = json.loads((base / "eval.json").read_text())
    sides.edit(candidate, lambda content: content.update(protocol=document["protocol"]))

    assert "class lists differ: only the base has road; only the candidate has street" in refusal(base, candidate)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("sky", "street", "car"), "; class lists differ: only the base has road; only the candidate has street)"),
        (("car", "road", "sky"), "; class lists differ: another order)"),
    ],
)
def test_the_fingerprint_of_the_data_says_which_classes_differ(tmp_path, names, sentence):
    """Two hashes alone tell nobody what to do."""
    base = sides.save(tmp_path / "base", GOOD)
    candidate = sides.save(tmp_path / "candidate", GOOD, names)
    said = refusal(base, candidate)

    assert "protocol.data: '" in said
    assert f"(fingerprint of the images, masks and classes{sentence}" in said


@pytest.mark.parametrize("break_it", [False, True])
def test_it_says_nothing_of_classes_that_are_equal_or_that_cannot_be_read(tmp_path, break_it):
    base = sides.save(tmp_path / "base", GOOD)
    candidate = sides.save(tmp_path / "candidate", GOOD[1:], ("sky", "street", "car") if break_it else sides.NAMES)
    if break_it:
        (candidate / "per_image.csv").write_text("rubbish")
    said = refusal(base, candidate)

    assert "(fingerprint of the images, masks and classes)" in said
    assert "class lists" not in said


def test_other_masks_are_recognised_by_their_pixels(tmp_path):
    """Even if the fingerprint of the data says otherwise."""
    other = TRUE.copy()
    other[3] += 1
    base = sides.save(tmp_path / "base", GOOD)
    candidate = sides.save(tmp_path / "candidate", sides.predicted(other, 0.8))

    assert "different numbers of true pixels in 1 image: frame-03" in refusal(base, candidate)


@pytest.mark.parametrize("cell", ["-1", "1.0", "1e3", " 5", "1_0", "", "nan", "\u0663", "9" * 16])
def test_cells_that_are_not_counts_are_refused(both, cell):
    path = both[0] / "per_image.csv"
    header, first, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, first.rpartition(",")[0] + "," + cell, *rows]) + "\n")

    assert f"image 'frame-00': {cell!r} is not a count" in refusal(*both)


@pytest.mark.parametrize(
    "header", ["image,group,accuracy,miou", "a,b,c,d,e_tp,e_fp,e_fn", "image,group,accuracy,miou,sky_tp,sky_fn,sky_fp"]
)
def test_other_columns_are_refused(both, header):
    width = len(header.split(","))
    (both[0] / "per_image.csv").write_text(f"{header}\n{','.join(['1'] * width)}\n")

    assert "expected image, group, accuracy, miou, then CLASS_tp, CLASS_fp, CLASS_fn" in refusal(*both)


def test_a_ragged_row_is_refused(both):
    path = both[0] / "per_image.csv"
    path.write_text(path.read_text() + "one,two\n")

    assert "row 21: 2 fields, but 13 columns" in refusal(*both)


def test_a_split_without_labelled_pixels_is_refused(tmp_path):
    base = sides.save(tmp_path / "base", GOOD)
    path = base / "per_image.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(",".join(row.split(",")[:4] + ["0"] * 9) for row in rows)]) + "\n")

    assert "no labelled pixels" in refusal(base, base)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_bytes_make_it_raise_anything_but_its_own_errors(evaluation, images):
    broken = Saved("base", "base/", None, evaluation, images, "Fix it.")

    for read in (counts.protocol, counts.read):
        with pytest.raises(DataError):
            read(broken)


@settings(max_examples=30)
@given(st.data())
def test_one_changed_byte_is_refused_or_changes_no_count(tmp_path_factory, data):
    """Any change of per_image.csv is either noticed or leaves the numbers alone."""
    folder = tmp_path_factory.mktemp("side")
    good = saved(sides.save(folder, GOOD[:3]))
    place = data.draw(st.integers(0, len(good.per_image) - 1))
    byte = data.draw(st.integers(0, 255))
    images = good.per_image[:place] + bytes([byte]) + good.per_image[place + 1 :]
    try:
        side = counts.read(Saved("x", "x/", None, good.evaluation, images, "Fix it."))
    except DataError:
        return
    assert np.array_equal(counts.read(good).counts, side.counts)


def test_a_folder_as_base_may_not_be_the_candidate(tmp_path):
    sides.save(tmp_path / "metrics", GOOD)

    with pytest.raises(ParameterError, match="the candidate's own folder"):
        saved_metrics.read("metrics", tmp_path)


def test_for_the_folder_above_the_metrics_the_right_one_is_suggested(tmp_path):
    sides.save(tmp_path / "old" / "metrics", GOOD)

    with pytest.raises(DataError, match=r"Did you mean .*old/metrics"):
        saved_metrics.read("old", tmp_path)


def test_outside_a_repository_a_revision_is_refused_in_git_s_words(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    with pytest.raises(ParameterError, match="git says: fatal: not a git repository") as caught:
        saved_metrics.read("main", tmp_path)
    assert "name a folder of saved metrics" in str(caught.value)


@pytest.mark.parametrize("base", ["", " "])
def test_an_empty_base_is_refused(tmp_path, base):
    with pytest.raises(ParameterError, match="empty"):
        saved_metrics.read(base, tmp_path)
