"""CVAT's "Segmentation mask 1.1": the layout of PASCAL VOC, with the colours of the labels in labelmap.txt.

An object is what has one colour in SegmentationObject and one in SegmentationClass; what is black in SegmentationClass
has no object. CVAT writes no masks for an image without objects. It has 256 colours for objects: after these, two may
share one.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segline.core import untrusted
from segline.core.errors import DataError, PipelineError
from segline.dataset.raw import SUFFIXES
from segline.preprocessing.image_files import image_file, masks
from segline.preprocessing.image_files.masks import MaskFile
from segline.preprocessing.image_files.masks import colour as rgb
from segline.sources.collecting import listing, shapes
from segline.sources.collecting.labels import Labels, Rules
from segline.sources.collecting.listing import Entry
from segline.sources.collecting.shapes import Canvas

LABEL_MAP = "labelmap.txt"
CLASSES, OBJECTS, LISTS = "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"
MAX_BYTES = 1 << 20  # of the label map
_BAND = 1 << 22  # pixels looked at together
_LINE = re.compile(r"(?P<name>[^:]+):(?P<rgb>\d{1,3},\d{1,3},\d{1,3})(:.*)?")


def label_map(path: Path) -> dict[int, str]:
    """Colour code r << 16 | g << 8 | b -> label, without black. Raises DataError."""
    remedy = "Expected lines such as car:0,0,128::, as CVAT writes them."
    try:
        text = untrusted.read(path, MAX_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise DataError(path, untrusted.problem(error), "Put CVAT's labelmap.txt there.") from None
    except UnicodeDecodeError as error:
        raise DataError(path, f"not UTF-8 at byte {error.start}", "Save it as UTF-8 text.") from None
    named: dict[int, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        red, green, blue = map(int, match["rgb"].split(",")) if match else (256, 0, 0)
        if match is None or max(red, green, blue) > 255:
            raise DataError(f"{path}: line {number}", f"{line[:80]!a} is no label with a colour", remedy)
        code = red << 16 | green << 8 | blue
        if code in named:
            problem = f"{match['name']!r} has the colour of {named[code]!r}"
            raise DataError(f"{path}: line {number}", problem, "Give each label a colour of its own in CVAT.")
        named[code] = match["name"]
    named.pop(0, None)
    return named


@dataclass
class Export:
    """A folder with labelmap.txt, and where its images are."""

    root: Path
    folder: Path
    images: Path
    labels: dict[int, str]
    _by_folder: dict[Path, dict[str, list[Path]]] = field(default_factory=dict)

    def lists(self) -> list[str]:
        """The lists of all its subsets, as paths below `root`."""
        return [path.relative_to(self.root).as_posix() for path in sorted((self.folder / LISTS).glob("*.txt"))]

    def entries(self, stems: Mapping[str, str], problems: list[PipelineError]) -> list[Entry]:
        """The image and the mask of each stem, sorted, whose mask may be absent; `stems` gives the places that ask.

        What is wrong is added to `problems`.
        """
        found = []
        for stem, where in sorted(stems.items()):
            try:
                listing.relative(f"{stem}.png")
            except ValueError as error:
                problems.append(DataError(where, f"{stem!a}: {error}", "Correct the list."))
                continue
            images = self._images(self.images / stem)
            files = [*images, *(path for path in self._masks(stem) if path.exists())]
            if len(images) != 1:
                problem = f"{len(images)} images with the stem {stem!a} in {self.images}, expected one"
                problems.append(DataError(where, problem, "Export from CVAT with images, or put them there."))
            elif (
                problem_of := next(filter(None, (listing.unusable(self.root, path) for path in files)), None)
            ) is not None:
                problems.append(DataError(where, f"{stem!a}: {problem_of}", "Put the files themselves there."))
            elif len(files) == 2:
                problems.append(DataError(where, f"only one of {CLASSES} and {OBJECTS} has {stem!a}", "Export both."))
            else:
                found.append(Entry(stem, None, images[0], self._masks(stem)[0]))
        return found

    def _masks(self, stem: str) -> tuple[Path, Path]:
        return self.folder / CLASSES / f"{stem}.png", self.folder / OBJECTS / f"{stem}.png"

    def _images(self, path: Path) -> list[Path]:
        place = path.parent
        if place not in self._by_folder:
            files = self._by_folder.setdefault(place, {})
            for each in sorted(place.iterdir()) if place.is_dir() else []:
                if each.suffix.lower() in SUFFIXES and not each.name.startswith("."):
                    files.setdefault(each.stem, []).append(each)
        return self._by_folder[place].get(path.name, [])

    def canvas(self, entry: Entry, rules: Rules, known: Labels) -> Canvas:
        """Classes and object numbers of an image, in the order of their colours in VOC's map. Raises DataError."""
        if not entry.mask.exists():
            with image_file.opened(entry.image, entry.image, windows=True) as image:
                return Canvas(image.height, image.width, rules.background)
        paths = self._masks(entry.stem)
        with _opened(paths[0]) as classes, _opened(paths[1]) as objects:
            if (size := (classes.height, classes.width)) != (objects.height, objects.width):
                problem = f"{size[1]}x{size[0]} pixels, but {paths[1]} has {objects.width}x{objects.height}"
                raise DataError(paths[0], problem, "Export both again.")
            canvas = Canvas(*size, rules.background)
            bands = [slice(top, min(top + _band(size[1]), size[0])) for top in range(0, size[0], _band(size[1]))]
            pairs = np.unique(np.concatenate([np.unique(_pairs(classes, objects, band)) for band in bands]))
            values, numbers = self._table(pairs, paths[0], rules, known)
            for band in bands:
                place = np.searchsorted(pairs, _pairs(classes, objects, band))
                canvas.mask[band], canvas.objects[band] = values[place], numbers[place]
        return canvas

    def _table(
        self, pairs: npt.NDArray[np.int64], where: Path, rules: Rules, known: Labels
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
        """The mask value and the object number of each pair of colours."""
        values, numbers = np.full(len(pairs), rules.background, np.uint8), np.zeros(len(pairs), np.uint16)
        is_object = []
        for place, (code, number) in enumerate((int(pair) >> 24, int(pair) & 0xFFFFFF) for pair in pairs):
            if not code:
                continue
            if code not in self.labels:
                problem = f"colour {rgb(code)} is not in {LABEL_MAP}"
                raise DataError(where, problem, "Export masks and label map together.")
            values[place] = known.value(self.labels[code], where)
            if shapes.is_object(int(values[place]), rules.background):
                is_object.append((_voc_number(number), code, place))
        if problem_of := shapes.too_many(len(is_object)):
            raise DataError(where, problem_of, "Cut the image into parts.")
        for number, (_, _, place) in enumerate(sorted(is_object), start=1):
            numbers[place] = number
        return values, numbers


@contextmanager
def _opened(path: Path) -> Iterator[MaskFile]:
    with masks.opened(path, path, None, windows=True) as mask:
        colour = mask.colour
    with masks.opened(path, path, "palette" if colour == "palette" else "rgb", windows=True) as mask:
        yield mask


def _band(width: int) -> int:
    return max(1, _BAND // width)


def _pairs(classes: MaskFile, objects: MaskFile, band: slice) -> npt.NDArray[np.int64]:
    """Class and object colours of some lines, as one number."""
    window = band.start, 0, band.stop - band.start, classes.width
    return classes.read(*window).astype(np.int64) << 24 | objects.read(*window).astype(np.int64)


def _voc_number(code: int) -> int:
    """The number whose colour in VOC's map that is: see `labels.colour`."""
    number = 0
    for place in range(8):
        for band, shift in enumerate((16, 8, 0)):
            number |= (code >> shift + 7 - place & 1) << 3 * place + band
    return number
