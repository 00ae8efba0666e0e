"""The drawn data set: the same bytes everywhere, every class in every split, streets in one split each."""

import hashlib
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import torch
from pydantic import ValidationError

from segline.core import parallel
from segline.core.errors import DataError
from segline.dataset import raw
from segline.dataset.raw import Dataset
from segline.model import batches, forward, randomness
from segline.networks import unet
from segline.scoring import confusion
from segline.sources import synthetic
from segline.sources.streets import scene
from segline.sources.streets.layout import CAR, PLATE, WALKER, Bulk, Thing
from segline.sources.streets.objects import cyclist, sign
from segline.sources.streets.view import FOG, NEAREST, VOID, Camera, Canvas, Kind

CODE = Path(scene.__file__).parent
SMALL = {"seed": 7, "height": 96, "width": 128, "train": 5, "val": 1, "test": 2}
OLDER_CPU = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR X86_V3",
    "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FP16,AVX,SSE4.2,SSE4.1",
    "OPENCV_IPP": "disabled",
}


def collect(folder: Path, **changes: int) -> Dataset:
    return synthetic.collect(synthetic.Section(**(SMALL | changes)), CODE, folder)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthetic")


@pytest.fixture(scope="module")
def drawn(folder: Path) -> Dataset:
    return collect(folder)


def masks(folder: Path, split: str) -> list[np.ndarray]:
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((folder / split / "masks").iterdir())]
    assert masks
    return masks


def test_the_same_seed_gives_the_same_bytes_and_the_same_index(folder: Path, drawn: Dataset, tmp_path: Path) -> None:
    again = collect(tmp_path)

    assert drawn == again
    assert files(folder) == files(tmp_path)


def test_another_seed_gives_other_pictures(folder: Path, drawn: Dataset, tmp_path: Path) -> None:
    collect(tmp_path, seed=8)

    here, there = files(folder), files(tmp_path)
    assert here.keys() == there.keys()
    assert not [name for name in here if here[name] == there[name]]


@pytest.mark.parametrize("drawing", [False, True], ids=["as it starts", "while it draws"])
def test_a_process_that_is_killed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawing: bool) -> None:
    """As the kernel does when memory runs out."""
    monkeypatch.setattr(parallel, "count", lambda: 2)

    def workers() -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]

    def kill() -> None:
        while not (processes := workers()) or (drawing and not list((tmp_path / "train/masks").iterdir())):
            time.sleep(0.01)
        processes[0].kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(DataError, match=r"data.synthetic: a process that drew them was killed, most likely"):
        collect(tmp_path, train=400)
    killer.join(10)


def test_no_two_scenes_are_alike(folder: Path, drawn: Dataset) -> None:
    contents = files(folder).values()

    assert len(contents) == len(set(contents))


@pytest.mark.slow
def test_the_number_of_processes_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve streets: two processes, against one."""
    results = []
    for number in (1, 2):
        monkeypatch.setattr(parallel, "count", lambda number=number: number)
        results.append(collect(tmp_path / str(number), train=40))

    assert results[0] == results[1]
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_more_scenes_of_one_split_change_no_other_file(folder: Path, drawn: Dataset, tmp_path: Path) -> None:
    collect(tmp_path, test=7)

    before, after = files(folder), files(tmp_path)
    assert before == {name: after[name] for name in before}
    assert len(before) + 2 * 5 == len(after)


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_cpu(folder: Path, drawn: Dataset, tmp_path: Path) -> None:
    """A process that may not use the newer instructions, nor IPP, draws the same pictures."""
    program = (
        "import sys, cv2; from pathlib import Path; from segline.sources import synthetic as s;"
        f"s.collect(s.Section(**{SMALL}), Path({str(CODE)!r}), Path(sys.argv[1]));"
        "print(cv2.getCPUFeaturesLine(), cv2.ipp.useIPP())"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    older = {**os.environ, **OLDER_CPU}
    told = subprocess.run(command, env=older, check=True, timeout=120, capture_output=True, text=True).stdout

    if platform.machine() == "x86_64":  # OpenCV marks what it was told not to use by "?"
        assert "*AVX2?" in told or "AVX2" not in told
        assert told.strip().endswith("False")
    assert files(folder) == files(tmp_path)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_split_shows_every_class_even_in_a_single_image(tmp_path: Path, seed: int) -> None:
    collect(tmp_path, seed=seed, train=1, val=1, test=1)

    for split in synthetic.SPLITS:
        (mask,) = masks(tmp_path, split)
        assert set(range(12)) == set(np.unique(mask).tolist())


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(96, 96), (96, 1920), (1080, 96), (97, 131)])
def test_every_allowed_shape_can_be_drawn(tmp_path: Path, height: int, width: int) -> None:
    collect(tmp_path, height=height, width=width, train=1, val=1, test=1)

    for split in synthetic.SPLITS:
        (mask,) = masks(tmp_path, split)
        assert (height, width) == mask.shape
        assert set(range(12)) == set(np.unique(mask).tolist())


def test_files_are_what_the_index_says(folder: Path, drawn: Dataset) -> None:
    """Sizes, dtypes, values 0..11, hashes; no file without a pair."""
    named = set()
    for split, pairs in drawn.splits.items():
        assert SMALL[split] == len(pairs)
        for pair in pairs:
            image, mask = (folder / split / path for path in (pair.image, pair.mask))
            assert pair.stem == image.stem == mask.stem
            assert pair.sha256_image == hashlib.sha256(image.read_bytes()).hexdigest()
            assert pair.sha256_mask == hashlib.sha256(mask.read_bytes()).hexdigest()
            pixels, labels = cv2.imread(str(image), cv2.IMREAD_UNCHANGED), cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
            assert ((96, 128, 3), np.uint8) == (pixels.shape, pixels.dtype)
            assert ((96, 128), np.uint8) == (labels.shape, labels.dtype)
            assert labels.max() <= VOID
            named |= {str(path.relative_to(folder)) for path in (image, mask)}

    assert set(files(folder)) == named


@pytest.mark.slow
def test_files_hold_rgb_and_not_bgr(tmp_path: Path) -> None:
    """Over several streets the sky is more blue than red."""
    result = collect(tmp_path, train=1, val=1, test=24)
    blue = red = 0
    for pair in result.splits["test"]:
        image = cv2.imread(str(tmp_path / "test" / pair.image), cv2.IMREAD_COLOR).astype(np.int64)
        sky = cv2.imread(str(tmp_path / "test" / pair.mask), cv2.IMREAD_UNCHANGED) == Kind.SKY
        blue, red = blue + image[sky, 0].sum(), red + image[sky, 2].sum()

    assert blue > red


def test_the_index_survives_the_disk(folder: Path, drawn: Dataset) -> None:
    raw.write(folder, drawn)

    assert drawn.splits["train"] == raw.read(folder).splits["train"]
    assert drawn.classes == raw.read(folder).classes


def test_a_street_stays_in_its_split(drawn: Dataset) -> None:
    groups = {split: {pair.group for pair in pairs} for split, pairs in drawn.splits.items()}

    assert {split: len(names) for split, names in groups.items()} == {"train": 2, "val": 1, "test": 1}
    assert len(set.union(*groups.values())) == 4


def test_pairs_come_sorted_by_stem(drawn: Dataset) -> None:
    for pairs in drawn.splits.values():
        stems = [pair.stem for pair in pairs]
        assert sorted(stems) == stems


def test_classes_are_those_of_camvid_in_order(drawn: Dataset) -> None:
    names = "sky building pole road pavement tree sign_symbol fence car pedestrian bicyclist"

    assert names.split() == [label.name for label in drawn.classes]
    assert drawn.classes[4].rgb == (60, 40, 222)
    assert len({label.rgb for label in drawn.classes}) == 11
    assert raw.Void(11, (0, 0, 0)) == drawn.void


@pytest.mark.slow
def test_class_shares_are_those_of_a_street() -> None:
    """Bounds, in percent, around what CamVid shows: 16 sky, 23 building, 28 road; things 0.3 to 8."""
    counts = np.zeros(12)
    for street in range(24):
        for _, mask in scene.frames(0, 0, street, 2, (96, 128)):
            counts += np.bincount(mask.ravel(), minlength=12)
    shares = dict(zip([kind.name for kind in Kind], 100 * counts / counts.sum(), strict=False))

    for name, low, high in [("SKY", 12, 24), ("BUILDING", 18, 32), ("ROAD", 20, 34), ("TREE", 4, 14)]:
        assert low < shares[name] < high
    for name in ("POLE", "SIGN_SYMBOL", "FENCE", "CAR", "PEDESTRIAN", "BICYCLIST", "PAVEMENT"):
        assert 0.3 < shares[name] < 9
    assert 0.5 < 100 * counts[VOID] / counts.sum() < 6


def test_frames_of_a_street_move_on_and_later_frames_leave_earlier_ones_alone() -> None:
    """A frame is a function of its number, not of how many are asked for."""
    one = list(scene.frames(3, 1, 0, 1, (96, 128)))
    three = list(scene.frames(3, 1, 0, 3, (96, 128)))

    assert np.array_equal(one[0][0], three[0][0])
    assert np.array_equal(one[0][1], three[0][1])
    assert (three[0][1] != three[1][1]).any()
    assert (three[0][1] == three[1][1]).mean() > 0.5


def test_a_place_ahead_is_seen_where_a_pinhole_sees_it() -> None:
    """u = W/2 + f x/z and v = horizon + f (altitude - y)/z, by hand; what is too close is pushed to `NEAREST`."""
    camera = Camera(width=200, height=100, focal=100.0, horizon=40.0, altitude=2.0, offset=1.0, bend=0.0)

    assert camera.project((3.0, 1.0, 10.0)) == (120, 50)
    assert camera.project((3.0, 1.0, NEAREST)) == camera.project((3.0, 1.0, -5.0))


def test_near_things_hide_far_ones_and_a_parked_car_hides_the_pavement_beside_it() -> None:
    """Drawn in this order: a house, a sign beside the car, the car, a sign before it, a rider passing it."""
    rider, car = Thing(cyclist, 1.0, 12.0, 0, WALKER), Thing(cyclist, 3.0, 10.0, 0, CAR)
    beside, nearer = Thing(sign, 4.5, 12.0, 0, PLATE), Thing(sign, 4.5, 9.0, 0, PLATE)
    house = Thing(sign, 6.0, 10.0, 0, Bulk(0.0, 9.0, 4.0))

    reach = [scene._reach(thing, 4.0) for thing in (house, beside, car, nearer, rider)]

    assert sorted(reach, reverse=True) == reach


def test_haze_grows_with_distance() -> None:
    canvas = Canvas(Camera(200, 100, 100.0, 40.0, 2.0, 0.0, 0.0), FOG)

    near, half, far = (canvas.hazy((0, 0, 0), z)[0] for z in (1.0, canvas.light.visibility, 500.0))

    assert near < half < far < FOG.sky_low[0]
    assert FOG.sky_low[0] // 2 == half


@pytest.mark.parametrize(
    ("key", "value"), [("train", 0), ("val", 0), ("test", -1), ("height", 64), ("width", 0), ("seed", -1)]
)
def test_values_that_cannot_be_drawn_are_refused(key: str, value: int) -> None:
    with pytest.raises(ValidationError, match=key):
        synthetic.Section(**(SMALL | {key: value}))


def test_a_street_that_cannot_show_every_class_is_an_error_of_the_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene, "RARE", 1)
    monkeypatch.setattr(scene, "ATTEMPTS", 2)

    with pytest.raises(DataError, match=r"96 x 128 pixels: .* none shows every class"):
        collect(tmp_path)


def test_an_untrained_network_scores_under_a_tenth(folder: Path, drawn: Dataset) -> None:
    counts = np.zeros((11, 11), np.int64)
    for seed in range(3):
        randomness.deterministic(seed)
        network = unet.build(unet.Section(width=16, depth=4, norm="batch", dropout=0.0), 3, 11)
        for pair in drawn.splits["test"]:
            image = cv2.imread(str(folder / "test" / pair.image))[..., ::-1]
            mask = cv2.imread(str(folder / "test" / pair.mask), cv2.IMREAD_UNCHANGED)
            inputs = batches.inputs(torch.from_numpy(image.copy())[None], batches.MEAN, batches.STD)
            logits = forward.logits(network, inputs)
            counts += confusion.count(mask, forward.classes(logits)[0], 11)

    assert confusion.scores(counts).miou < 0.10
