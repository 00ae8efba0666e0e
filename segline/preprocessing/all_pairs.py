"""What is compared over all splits of a data set, and said of it, once each pair is prepared."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError, PipelineError
from segline.dataset.preparation import Preparation, SampleType
from segline.preprocessing import audit, levels, object_numbers, pairs, palettes
from segline.preprocessing.pair_files import Page

Kind = TypeVar("Kind")
_NO_DATA = "pixels without data are void"


@dataclass
class _Files:
    """How many there are of a kind, and the first of them."""

    first: Path
    count: int = 0


def _count(found: dict[Kind, _Files], kind: Kind, file: Path) -> None:
    found.setdefault(kind, _Files(file)).count += 1


class AllPairs:
    """Filled in the order of the data set; `preparation` is then that of the pairs, with what all of them share."""

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation
        self._pictures: dict[int, list[tuple[str, Page]]] = defaultdict(list)  # by checksum
        self._masks: list[tuple[Path, palettes.Colours]] = []
        self._deep_images: list[tuple[Path, levels.Kept]] = []
        self._objects: list[tuple[Path, object_numbers.Findings]] = []
        self._notes: dict[str, _Files] = {}
        self._kinds: dict[str, _Files] = {}
        self._classes: dict[str, npt.NDArray[np.bool_]] = {}
        self._only_void: dict[Path, _Files] = {}
        self._counts: dict[Path, int] = defaultdict(int)

    def add(self, folder: Path, page: Page, prepared: pairs.Prepared) -> None:
        """Adds a page of the split in `folder`."""
        image = folder / page.pair.image
        self._pictures[prepared.checksum].append((folder.name, page))
        _count(self._kinds, self._kind(prepared), image)
        self._share(prepared)
        if prepared.colours:
            self._masks.append((folder / page.pair.mask, prepared.colours))
        if prepared.kept is not None:
            self._deep_images.append((image, prepared.kept))
        if prepared.objects is not None:
            self._objects.append((image, prepared.objects))
        for note in (*prepared.notes, *[_NO_DATA] * prepared.origin.no_data):
            _count(self._notes, note, image)
        self._counts[folder] += 1
        self._classes[folder.name] = prepared.classes | self._classes.get(folder.name, False)
        if not prepared.classes.any():
            _count(self._only_void, folder, Path(page.pair.mask))

    def _share(self, prepared: pairs.Prepared) -> None:
        form = self.preparation
        dtype = None if form.intensity.by == "full" else cast(SampleType, prepared.dtype.name)
        bands = None if isinstance(form.bands, str) else prepared.bands
        self.preparation = replace(form, dtype=dtype, file_bands=bands)

    def _kind(self, prepared: pairs.Prepared) -> str:
        """What must be the same in all images, in words."""
        form = self.preparation
        bands = "" if isinstance(form.bands, str) else f"{prepared.bands} band{'s' * (prepared.bands != 1)}"
        samples = "" if form.intensity.by == "full" else f"{prepared.dtype} samples"
        return " of ".join(filter(None, (bands, samples)))

    def problems(self, raw: Path) -> Iterator[PipelineError]:
        """Equal pictures in different splits, palettes that differ, bands or types of samples that differ."""
        yield from audit.equal_pictures(raw, self.preparation, self._pictures.values())
        if clash := palettes.conflict(self._masks):
            yield clash
        usual = max(self._kinds, key=lambda kind: self._kinds[kind].count, default="")
        for kind, files in self._kinds.items():
            if kind != usual:
                also = f" (and {files.count - 1} more)" if files.count > 1 else ""
                problem = f"{kind}{also}, expected {usual} as {self._kinds[usual].first}"
                yield DataError(files.first, problem, "Keep images of one kind, or convert them.")

    def warnings(self, class_names: Sequence[str]) -> Iterator[str]:
        """What is worth a look: each once, with a count and an example."""
        for folder, masks in self._only_void.items():
            yield f"{folder}: {masks.count} of {self._counts[folder]} masks contain only void, such as {masks.first}"
        for note, files in self._notes.items():
            yield f"{files.count} image{'s' * (files.count != 1)}: {note}, such as {files.first}"
        yield from object_numbers.warnings(self._objects)
        yield from levels.lost(self._deep_images, levels.better(self.preparation.intensity))
        yield from audit.absent_classes(class_names, self._classes)
