"""Single flipped bits in the files that a later stage reads: none may be used in silence."""

import shutil
from collections.abc import Callable
from pathlib import Path

from segline.core.errors import PipelineError
from segline.dataset import processed, raw
from segline.model import checkpoint
from segline.preprocessing.image_files import reading
from tests.sweeps.tally import Clock, Random, Tally

Reader = Callable[[Path], object]


def read_pair(split: Path) -> None:
    """Every image and mask of a raw split, as `preprocess` reads them."""
    for pair in raw.read(split.parent).splits[split.name]:
        reading.read_listed(split, pair.image, pair.sha256_image, raw.DATASET_FILE)
        reading.read_listed(split, pair.mask, pair.sha256_mask, raw.DATASET_FILE)


def files(root: Path) -> list[tuple[Path, Reader, Path]]:
    """Each file to damage, what reads it, and the argument."""
    model = root / "models/model.safetensors"
    listed: list[tuple[Path, Reader, Path]] = [(model, checkpoint.read, model)] * 4
    for split in ("train", "val", "test"):
        folder, source = root / "data/processed" / split, root / "data/raw" / split
        listed += [(path, processed.read, folder) for path in sorted(folder.iterdir())]
        listed.append((next(path for path in sorted(source.rglob("*")) if path.is_file()), read_pair, source))
    return listed


def sweep(root: Path, random: Random, count: int, clock: Clock, scratch: Path) -> Tally:
    """Flips one bit at a time in a copy of the results of the project at `root`."""
    tally = Tally("flips", count, "found")
    for folder in ("models", "data"):
        shutil.copytree(root / folder, scratch / folder)
    listed = files(scratch)
    for _ in range(count):
        if clock.left <= 0:
            break
        path, read, argument = random.choice(listed)
        bit = random.randrange(path.stat().st_size * 8)
        tally.note(f"bit {bit} of {path.relative_to(scratch)}", unnoticed(path, bit, read, argument))
    return tally


def unnoticed(path: Path, bit: int, read: Reader, argument: Path) -> str | None:
    """What is wrong with how the reader takes this bit, flipped; the file is as before afterwards."""
    good = path.read_bytes()
    damaged = bytearray(good)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    try:
        read(argument)
    except PipelineError:
        return None
    except Exception as error:
        return f"found by {type(error).__name__}: {error}"
    finally:
        path.write_bytes(good)
    return "used in silence"
