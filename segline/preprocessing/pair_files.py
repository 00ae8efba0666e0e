"""The files of a pair: their pages, opened, and whether image and mask belong together, before any pixel is read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segline.core.errors import DataError, PipelineError
from segline.dataset import tiling
from segline.dataset.preparation import Orientation, Preparation
from segline.dataset.raw import DATASET_FILE, FORMATS, Pair
from segline.preprocessing import intensity
from segline.preprocessing.image_files import image_file, masks, reading
from segline.preprocessing.image_files.image_file import ImageFile
from segline.preprocessing.image_files.masks import MaskFile
from segline.preprocessing.image_files.page_errors import on_page


@dataclass(frozen=True)
class Page:
    """A pair, or one page of its files: `number` counts from 1 and is None if each file has one image."""

    pair: Pair
    number: int | None = None
    count: int = 1

    @property
    def stem(self) -> str:
        """Such as stack-page-02."""
        if self.number is None:
            return self.pair.stem
        return f"{self.pair.stem}-page-{self.number:0{len(str(self.count))}}"

    @property
    def group(self) -> str | None:
        """The pages of a file are not independent, so they are a group even if the data set names none."""
        return self.pair.stem if self.pair.group is None and self.number is not None else self.pair.group


def pages(folder: Path, pair: Pair) -> list[Page]:
    """The pages of a pair of the split in `folder`. Raises DataError if image and mask have different numbers of them.

    A file that cannot be opened counts as its partner does: opening the first page tells what is wrong.
    """
    paths = [reading.listed_path(folder, name) for name in (pair.image, pair.mask)]
    known = [count for count in map(_pages, paths) if count is not None]
    if len(set(known)) > 1:
        for path in paths:
            with image_file.opened(path, path, 1):  # what is no image at all is told first
                pass
        raise other_pages(folder / pair.image, folder / pair.mask, *known)
    count = max(known, default=1)
    if count == 1:
        return [Page(pair)]
    return [Page(pair, number, count) for number in range(1, 1 + (count if len(known) == 2 else 1))]


def other_pages(image_path: Path, mask_path: Path, of_image: int, of_mask: int) -> DataError:
    """The error for a mask that has other pages than its image."""
    problem = f"{of_mask} page{'s' * (of_mask != 1)}, expected {of_image} as {Path(*image_path.parts[-2:])}"
    return DataError(mask_path, problem, "Export a mask page for each page of the image, in the same order.")


def _pages(path: Path) -> int | None:
    """How many images a file has; None if that cannot be told."""
    if path.suffix.lower() not in FORMATS["TIFF"]:
        return 1
    try:
        return image_file.pages(path, path)
    except PipelineError:
        return None


def num_rows(folder: Path, page: Page, preparation: Preparation) -> int:
    """How many rows a page becomes; 0 if its image cannot be opened."""
    if preparation.fit != "tile":
        return 1
    try:
        with opened_image(folder, page, preparation, verify=False) as image:
            return tiling.grid(preparation, image.height, image.width).count
    except PipelineError:
        return 0


@contextmanager
def opened_image(folder: Path, page: Page, preparation: Preparation, *, verify: bool = True) -> Iterator[ImageFile]:
    """The image of a page. Raises IntegrityError or DataError unless it is the listed one and fits the preparation.

    Without `verify` a TIFF need not be the listed one.
    """
    pair = page.pair
    verify = verify and page.number in (None, 1)  # once a file
    path, source = reading.listed_source(folder, pair.image, pair.sha256_image, DATASET_FILE, verify=verify)
    alpha, bands = preparation.alpha, preparation.bands
    turn, windows = preparation.orientation != "stored", preparation.fit == "tile"
    with image_file.opened(source, path, page.number, alpha, bands=bands, turn=turn, windows=windows) as image:
        intensity.require(path, image.colour, image.bands, image.dtype, preparation)
        yield image


@contextmanager
def opened_mask(
    folder: Path, page: Page, preparation: Preparation, encoding: str, threshold: int | None
) -> Iterator[MaskFile]:
    """The mask of a page, turned as its image is. Raises as `opened_image` does."""
    pair = page.pair
    verify = page.number in (None, 1)
    path, source = reading.listed_source(folder, pair.mask, pair.sha256_mask, DATASET_FILE, verify=verify)
    turn, windows = preparation.orientation != "stored", preparation.fit == "tile"
    with masks.opened(source, path, encoding, threshold, page.number, turn=turn, windows=windows) as mask:
        yield mask


@contextmanager
def opened_objects(folder: Path, page: Page, preparation: Preparation, mask: MaskFile) -> Iterator[MaskFile]:
    """The object numbers of a page, as large as its mask and turned likewise. Raises as `opened_image` does.

    Every page has them: see `raw.Pair`.
    """
    pair = page.pair
    name, sha256 = f"{pair.objects}", f"{pair.sha256_objects}"
    verify = page.number in (None, 1)
    path, source = reading.listed_source(folder, name, sha256, DATASET_FILE, verify=verify)
    turn, windows = preparation.orientation != "stored", preparation.fit == "tile"
    with masks.opened(source, path, "index", None, page.number, turn=turn, windows=windows) as objects:
        if (objects.height, objects.width) != (mask.height, mask.width):
            size, expected = (f"{each.width}x{each.height}" for each in (objects, mask))
            problem = f"{size} pixels, expected {expected} as {pair.mask}"
            raise on_page(DataError(path, problem, "Export object numbers at the size of the mask."), page.number)
        yield objects


def misfit(
    image_path: Path, mask_path: Path, image: ImageFile, mask: MaskFile, orientation: Orientation
) -> DataError | None:
    """Why the mask is not that of the image, by their sizes and Exif tags; None if it may be."""
    stored_alike = image.stored_size == mask.stored_size and image.orientation != mask.orientation
    named = Path(*image_path.parts[-2:])
    size, expected = (f"{each.width}x{each.height}" for each in (mask, image))
    if (mask.height, mask.width) == (image.height, image.width):
        if orientation != "check" or not stored_alike:
            return None
        tags = f"Exif orientation {image.orientation}, while that of its mask is {mask.orientation}"
        return DataError(
            image_path,
            f"{tags}: with {expected} pixels they fit whether turned or not",
            "Set preprocess.orientation to upright if masks fit the images as viewers show them, otherwise to stored.",
        )
    if orientation != "stored" and stored_alike:
        problem = f"{size} pixels as {named} is stored, expected {expected} as it is seen upright"
        remedy = "Turn the mask, or set preprocess.orientation to stored."
        return DataError(mask_path, f"{problem} (Exif orientation {image.orientation})", remedy)
    problem = f"{size} pixels, expected {expected} as {named}"
    if orientation == "stored" and image.orientation >= 5 and (mask.width, mask.height) == image.stored_size:
        return DataError(mask_path, f"{problem} is stored", "Set preprocess.orientation to upright.")
    return DataError(mask_path, problem, "Export the mask at the size of its image.")
