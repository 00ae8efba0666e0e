"""Predictions that were written for CVAT, or as COCO -> the class arrays that datumaro makes of them.

Runs where datumaro is installed: see ../predictions.py, which says what is in a folder. CVAT itself imports COCO by
datumaro, its own XML by code of the server; datumaro's reader of the XML knows no masks, only polygons.
"""

import json
import sys
from pathlib import Path

import numpy as np
from datumaro.components.annotation import AnnotationType, CompiledMask
from datumaro.components.dataset import Dataset


def main(folder: Path) -> None:
    """Reads the annotations with their images, and draws them as datumaro's exports of masks do."""
    is_xml = (folder / "annotations.xml").is_file()
    dataset = Dataset.import_from(str(folder), "cvat" if is_xml else "coco_instances")
    names = [label.name for label in dataset.categories()[AnnotationType.label]]
    if names != json.loads((folder / "names.json").read_text(encoding="utf-8")):
        raise SystemExit(f"{folder}: the labels are {names}")
    dataset.transform("polygons_to_masks")
    for item in dataset:
        classes = np.zeros(item.media.size, np.int16)
        if item.annotations:
            numbers = [each.label + 1 for each in item.annotations]
            drawn = CompiledMask.from_instance_masks(item.annotations, instance_labels=numbers)
            classes = drawn.class_mask.astype(np.int16)
        np.save(folder / f"{item.id}.npy", classes)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        main(Path(argument))
