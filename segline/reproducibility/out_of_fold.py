"""The labels of every image, and what a model that has not seen it predicts. K classes, H x W: the image's own size."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segline.core import pipeline
from segline.core.errors import DataError
from segline.dataset import objects, onehot, processed, raw
from segline.dataset.origins import Origin
from segline.preprocessing import intensity, pair_files
from segline.reporting import drawing
from segline.reproducibility import folds
from segline.scoring import raw_masks

PREDICTIONS = Path("predictions/crossvalidation")
REMEDY = "Run `segline crossvalidate`."

Uint8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Image:
    """An image of the data set; `name` is that of its predictions, `folder` the raw folder of its split."""

    name: str
    folder: Path
    origin: Origin
    index: processed.Index
    predictions: Path

    @property
    def classes(self) -> Sequence[raw.Label]:
        """K classes, without void."""
        semantic = objects.semantic(self.index.classes, self.index.objects)
        return semantic[: len(semantic) - self.index.void_is_class]

    def labels(self) -> Uint8:
        """The class of each pixel as `preprocess` took it, uint8 (H, W), `onehot.VOID` for void.

        Raises IntegrityError or DataError for a mask that is not the one that preprocess saw.
        """
        with raw_masks.opened(self.folder, self.origin, self.index) as read:
            found = read(0, self.origin.height)
        return np.where(found < len(self.classes), found, onehot.VOID).astype(np.uint8)

    def planes(self) -> Uint8:
        """The probability of each class, uint8 (K, H, W), 255 = 1. Raises DataError unless they are of this image."""
        import rasterio  # noqa: PLC0415 - 0.2 s
        from rasterio.errors import NotGeoreferencedWarning, RasterioError  # noqa: PLC0415

        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # most images are not
        path = self.predictions / "probabilities" / f"{self.name}.tif"
        if not path.exists():
            raise DataError(path, "missing", REMEDY)
        shape = (len(self.classes) + self.index.void_is_class, self.origin.height, self.origin.width)
        try:
            with rasterio.open(path) as file:
                known = (file.count, file.height, file.width)
                if known != shape:
                    raise DataError(path, f"planes, height and width are {known}, expected {shape}", REMEDY)
                return np.asarray(file.read(list(range(1, 1 + len(self.classes)))), np.uint8)
        except RasterioError as error:
            raise DataError(path, f"cannot be read ({error})", REMEDY) from None

    def picture(self) -> Uint8:
        """The image as people see it, uint8 (H, W, 3)."""
        page = raw_masks.page(self.origin, self.origin.mask, self.origin.sha256_mask)
        with pair_files.opened_image(self.folder, page, self.index.preparation) as file:
            samples = file.read(0, 0, file.height, file.width)
        return drawing.rgb(intensity.to_bytes(samples, self.index.preparation))


def images(root: Path) -> list[Image]:
    """Every image of the project in `root`, by split and stem. Raises DataError if processed data are missing."""
    raw_folder, processed_folder = (root / pipeline.path("preprocess", name) for name in ("raw", "processed"))
    splits = raw.read(raw_folder).splits
    are_unique = folds.stems_are_unique(pair.stem for pairs in splits.values() for pair in pairs)
    found = []
    for split in sorted(splits):
        index = processed.read(processed_folder / split).index
        for origin in index.origins:
            name = origin.stem if are_unique else f"{split}/{origin.stem}"
            found.append(Image(name, raw_folder / split, origin, index, root / PREDICTIONS))
    return found


def arrays(images: Sequence[Image]) -> Iterator[tuple[Uint8, Uint8]]:
    """Labels and planes of one image after the other."""
    return ((image.labels(), image.planes()) for image in images)
