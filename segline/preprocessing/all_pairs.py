"""What is compared over all splits of a data set, and said of it, once each pair is prepared."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError, PipelineError
from segline.dataset.preparation import Preparation, SampleType
from segline.preprocessing import audit, levels, object_numbers, pairs, palettes
from segline.preprocessing.pair_files import Page

_NO_DATA = "pixels without data are void"


class AllPairs:
    """Filled in the order of the data set; `preparation` is then that of the pairs, with what all of them share."""

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation
        self._pictures: dict[int, list[tuple[str, Page]]] = defaultdict(list)  # by checksum
        self._masks: list[tuple[Path, palettes.Colours]] = []
        self._deep_images: list[tuple[Path, levels.Kept]] = []
        self._objects: list[tuple[Path, object_numbers.Findings]] = []
        self._notes: dict[str, list[Path]] = defaultdict(list)
        self._kinds: dict[str, list[Path]] = defaultdict(list)
        self._classes: dict[str, npt.NDArray[np.bool_]] = {}
        self._only_void: dict[Path, list[str]] = defaultdict(list)
        self._counts: dict[Path, int] = defaultdict(int)

    def add(self, folder: Path, page: Page, prepared: pairs.Prepared) -> None:
        """Adds a page of the split in `folder`."""
        image = folder / page.pair.image
        self._pictures[prepared.checksum].append((folder.name, page))
        self._kinds[self._kind(prepared)].append(image)
        self._share(prepared)
        if prepared.colours:
            self._masks.append((folder / page.pair.mask, prepared.colours))
        if prepared.kept is not None:
            self._deep_images.append((image, prepared.kept))
        if prepared.objects is not None:
            self._objects.append((image, prepared.objects))
        for note in (*prepared.notes, *[_NO_DATA] * prepared.origin.no_data):
            self._notes[note].append(image)
        self._counts[folder] += 1
        self._classes[folder.name] = prepared.classes | self._classes.get(folder.name, False)
        if not prepared.classes.any():
            self._only_void[folder].append(page.pair.mask)

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
        usual = max(self._kinds, key=lambda kind: len(self._kinds[kind]), default="")
        for kind, (first, *others) in self._kinds.items():
            if kind != usual:
                also = f" (and {len(others)} more)" if others else ""
                problem = f"{kind}{also}, expected {usual} as {self._kinds[usual][0]}"
                yield DataError(first, problem, "Keep images of one kind, or convert them.")

    def warnings(self, class_names: Sequence[str]) -> Iterator[str]:
        """What is worth a look: each once, with a count and an example."""
        for folder, masks in self._only_void.items():
            yield f"{folder}: {len(masks)} of {self._counts[folder]} masks contain only void, such as {masks[0]}"
        for note, files in self._notes.items():
            yield f"{len(files)} image{'s' * (len(files) != 1)}: {note}, such as {files[0]}"
        yield from object_numbers.warnings(self._objects)
        yield from levels.lost(self._deep_images, levels.better(self.preparation.intensity))
        yield from audit.absent_classes(class_names, self._classes)
