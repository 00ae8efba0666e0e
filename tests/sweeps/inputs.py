"""Mutated files for every reader: each is read, or refused by an error for users. No traceback, hang or crash.

`python -m tests.sweeps.inputs READER SEED FIRST COUNT SECONDS FOLDER` reads them in a process of its own: a crash or a
hang ends that process alone. Input N depends on the seed and N, so that it can be made again.
"""

import dataclasses
import faulthandler
import importlib
import io
import json
import random
import resource
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np

from segline.core.errors import PipelineError, Problems
from segline.dataset import origins, processed, raw
from segline.dataset.preparation import Alpha
from segline.gate import pairing, saved_metrics
from segline.preprocessing.image_files import image_file, masks
from segline.sources.collecting import archive
from tests import pictures as valid_pictures
from tests import tiny
from tests.e2e.reruns import ROOT
from tests.gate import sides
from tests.sweeps import mutations
from tests.sweeps.tally import Clock, Random, Tally

HANG = 20  # seconds for one input
MEGABYTES = 512  # that the inputs may add to the memory of the process
Read = Callable[[Random], object]


def pictures(
    suffix: str, valid: Callable[[], list[bytes]], mutated: Callable[[bytes, Random], bytes]
) -> Callable[[Path], Read]:
    """Files of one format as images and as masks, whole and by windows."""

    def reader(folder: Path) -> Read:
        path, files = folder / f"x{suffix}", valid()

        def read(random: Random) -> None:
            content = mutated(random.choice(files), random)
            source: bytes | Path = content
            if random.random() < 0.2:
                path.write_bytes(content)
                source = path
            page, turn, windows = random.choice((None, None, 1, 2)), random.random() < 0.7, random.random() < 0.5
            if random.random() < 0.5:
                alpha = random.choice(get_args(Alpha))
                with image_file.opened(source, path, page, alpha, turn=turn, windows=windows) as image:
                    _read_windows(image, random)
            else:
                encoding, threshold = random.choice(list(raw.ENCODINGS)), random.choice((None, None, 100))
                with masks.opened(source, path, encoding, threshold, page, turn=turn, windows=windows) as mask:
                    _read_windows(mask, random)

        return read

    return reader


def _read_windows(file: image_file.ImageFile | masks.MaskFile, random: Random) -> None:
    top, left = random.randrange(file.height), random.randrange(file.width)
    file.read(top, left, min(file.height - top, 16), min(file.width - left, 16))
    if file.height * file.width < 1 << 22:
        file.read(0, 0, file.height, file.width)


def dataset(folder: Path) -> Read:
    """dataset.json."""
    tiny.write_raw(folder, {"train": 2, "val": 1})
    path = folder / raw.DATASET_FILE
    valid = path.read_bytes()

    def read(random: Random) -> None:
        path.write_bytes(mutations.of_text(valid, random))
        raw.read(folder)

    return read


def index(folder: Path) -> Read:
    """index.json, origins.jsonl and the headers of the arrays, half of them with the right digests."""
    shape = (2, 4, 5)
    listed = tuple(origins.Origin(str(n), None, 8, 9, "a.png", "b.png", "0" * 64, "0" * 64) for n in range(2))
    preparation = tiny.stretched(4, 5)
    values = ((0, 0), (1, 1), (2, 2), (9, None))
    data = processed.Index("toy", "test", tiny.CLASSES, tiny.VOID, False, "index", values, preparation, origins=listed)
    tiny.write_split(folder, data, np.zeros((*shape, 3), np.uint8), np.zeros((*shape, 1), np.uint8))
    path, array = folder / processed.INDEX, folder / tiny.IMAGES
    header = array.read_bytes()

    def read(random: Random) -> None:
        array.write_bytes(mutations.of_bytes(header, random) if random.random() < 0.3 else header)
        processed.write_index(folder, data)  # with the digest of that array
        if random.random() < 0.3:
            lines = folder / origins.ORIGINS
            lines.write_bytes(mutations.of_text(lines.read_bytes(), random))
            if random.random() < 0.8:
                tiny.seal_again(folder)
        else:
            content = mutations.of_text(path.read_bytes(), random)
            if random.random() < 0.5:
                content = mutations.sealed(content.removesuffix(b"\n")) + b"\n"
            path.write_bytes(content)
        processed.read(folder)

    return read


def model(folder: Path) -> Read:
    """The model file: its bytes, and its description with the right digest."""
    import torch  # takes seconds, which the other readers need not wait
    from safetensors.torch import save

    from segline.model import checkpoint

    path = folder / "model.safetensors"
    parameters = {"width": 2, "depth": 1, "norm": "batch", "dropout": 0.0}
    fields = {"network": "unet", "parameters": parameters, "head": "softmax", "preparation": tiny.stretched(16, 16)}
    description = checkpoint.Description(**fields, mean=127.5, std=60.0, classes=tiny.CLASSES, class_weights=())
    torch.manual_seed(0)
    network = checkpoint.network(description)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    checkpoint.write(path, weights, description)
    valid = path.read_bytes()
    text = checkpoint._content(path)[0].encode()
    digest = checkpoint._digest(weights)

    def read(random: Random) -> None:
        if random.random() < 0.5:
            path.write_bytes(mutations.of_bytes(valid, random))
        else:
            changed = mutations.sealed(mutations.of_text(text, random), digest).decode("utf-8", "replace")
            path.write_bytes(save(weights, {checkpoint.KEY: changed}))
        checkpoint.read_named(path)

    return read


def parameters(folder: Path) -> Read:
    """params.yaml."""
    from segline.commands import check  # imports torch

    path = folder / "params.yaml"
    valid = (ROOT / "params.yaml").read_bytes()

    def read(random: Random) -> None:
        path.write_bytes(mutations.of_text(valid, random))
        check.problems(path)

    return read


def gate(folder: Path) -> Read:
    """eval.json and per_image.csv."""
    sides.save(folder, sides.predicted(sides.truth(), 0.8))
    base = saved_metrics.in_folder(folder, "base", "Fix it.")

    def read(random: Random) -> None:
        field = random.choice(("evaluation", "per_image"))
        changed = {field: mutations.of_text(getattr(base, field), random)}
        pairing.pair(base, dataclasses.replace(base, **changed))

    return read


def tar(folder: Path) -> Read:
    """An archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as whole:
        for name in ("top/a.png", "top/b.png", "top/" + "long/" * 40 + "c.png"):
            member = tarfile.TarInfo(name)
            member.size = 700
            whole.addfile(member, io.BytesIO(bytes(700)))
    path = folder / "x.tar.gz"

    def read(random: Random) -> None:
        path.write_bytes(mutations.of_gzip(stream.getvalue(), random))
        archive.extract(path, {"a.png": archive.Wanted("never", "0" * 64)}, folder / "out")

    return read


def exports(tool: str, places: dict[str, str], patterns: tuple[str, ...]) -> Callable[[Path], Read]:
    """Recorded exports of a labelling tool, one of whose files is mutated; of several problems, the first is looked at.

    `places` are the parameters that say where its files are.
    """

    def reader(folder: Path) -> Read:
        root, source = folder / "export", importlib.import_module(f"segline.sources.{tool}")
        shutil.copytree(ROOT / "tests/sources/tools" / tool / "made", root)
        files = sorted(path for pattern in patterns for path in root.glob(pattern))
        rules = {"classes": ["car", "road", "sky"], "unlabelled": "void", "group": ""}
        split = {"by": "ratio", "shares": {"train": 1.0}, "seed": 1}

        def read(random: Random) -> None:
            choices = {"unknown": random.choice(("refuse", "void")), "faults": random.choice(("refuse", "skip"))}
            section = source.Section.model_validate({**rules, **choices, "split": split, **places})
            path = random.choice(files)
            valid = path.read_bytes()
            path.write_bytes((mutations.of_png if path.suffix == ".png" else mutations.of_text)(valid, random))
            try:
                source.collect(section, root, folder / "raw")
            except Problems as several:
                raise several.problems[0] from None
            finally:
                path.write_bytes(valid)
                shutil.rmtree(folder / "raw", ignore_errors=True)

        return read

    return reader


READERS: dict[str, Callable[[Path], Read]] = {
    "png": pictures(".png", valid_pictures.png, mutations.of_png),
    "jpeg": pictures(".jpg", valid_pictures.jpeg, mutations.of_bytes),
    "tiff": pictures(".tif", valid_pictures.tiff, mutations.of_numbers),
    "bmp": pictures(".bmp", valid_pictures.bmp, mutations.of_numbers),
    "webp": pictures(".webp", valid_pictures.webp, mutations.of_numbers),
    "gif": pictures(".gif", valid_pictures.gif, mutations.of_numbers),
    "dataset.json": dataset,
    "index.json": index,
    "model": model,
    "params.yaml": parameters,
    "gate": gate,
    "archive": tar,
    "labelme": exports("labelme", {"annotations": "*.json"}, ("*.json",)),
    "cvat": exports("cvat", {"annotations": "annotations.xml", "images": "images"}, ("*.xml",)),
    "cvat masks": exports(
        "cvat",
        {"annotations": "masks/labelmap.txt", "images": "masks/JPEGImages"},
        ("masks/*.txt", "masks/ImageSets/*/*.txt", "masks/Segmentation*/*.png"),
    ),
}


def sweep(random: Random, count: int, clock: Clock, scratch: Path) -> Tally:
    """`count` inputs for each reader, as many for all as the time allows."""
    tally = Tally("mutated inputs", count * len(READERS), "read or refused, without a traceback or a hang")
    seed = random.randrange(1 << 32)
    for position, reader in enumerate(READERS):
        until = Clock(clock.left / (len(READERS) - position))
        first = 0
        while first < count and until.left > 0:
            first = _batch(tally, reader, seed, range(first, count), until, scratch / reader)
    return tally


def _batch(tally: Tally, reader: str, seed: int, numbers: range, until: Clock, folder: Path) -> int:
    """Lets a process read the inputs of these numbers, until it ends. The number of the next input."""
    first = numbers.start
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.sweeps.inputs",
        reader,
        *map(str, (seed, first, numbers.stop)),
    ]
    command += [str(until.left), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace", check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    report = next((answer for answer in answers if "next" in answer), None)
    faults = {answer["input"]: answer["fault"] for answer in answers if "fault" in answer}
    started = max((answer["started"] for answer in answers if "started" in answer), default=first)
    following = report["next"] if report else started + 1
    if not report:
        faults[started] = f"ended with {done.returncode} near here: {done.stderr[-500:]!r}"
    for number in range(first, following):
        tally.note(f"input {number} of {reader} with seed {seed}", faults.get(number))
    if report and report["megabytes"] > MEGABYTES:
        tally.note(f"inputs {first} to {following} of {reader}", f"{report['megabytes']} MB of memory")
    return following


def fault(read: Read, random: Random) -> str | None:
    """How the reader fails on the next input, if not by an error for users."""
    try:
        read(random)
    except PipelineError as error:
        return None if len(str(error)) < 2000 and str(error).isprintable() else f"an unreadable message: {error!r:.200}"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200}"
    return None


def main(reader: str, seed: str, *rest: str) -> None:
    """Reads the inputs, and prints JSON lines: which is read now and then, what is wrong, and where it ended."""
    first, count, seconds, folder = rest
    read = READERS[reader](Path(folder))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    until, number, said = Clock(float(seconds)), int(first), 0.0
    while number < int(count) and until.left > 0:
        if time.monotonic() - said > 1:
            _answer(started=number)
            said = time.monotonic()
        faulthandler.dump_traceback_later(HANG, exit=True)
        wrong = fault(read, random.Random(f"{seed} {reader} {number}"))
        faulthandler.cancel_dump_traceback_later()
        if wrong:
            _answer(input=number, fault=wrong)
        number += 1
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    _answer(next=number, megabytes=added)


def _answer(**content: object) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
