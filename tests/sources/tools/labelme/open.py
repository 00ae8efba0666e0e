"""Predictions that were written for labelme -> the class arrays that its own library makes of them.

Runs where labelme is installed: see ../predictions.py, which says what is in a folder.
"""

import json
import os
import sys
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"

import labelme
import numpy as np
from labelme import utils
from loguru import logger


def main(folder: Path) -> None:
    """Opens each file with its image, as labelme's window does, and draws it by labelme's function for that."""
    names = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    numbers = {"__ignore__": -1} | {name: number for number, name in enumerate(names, start=1)}
    for path in sorted((folder / "annotations").glob("*.json")):
        opened = labelme.LabelFile(str(path))
        size = utils.img_data_to_arr(opened.image_data).shape
        classes, _ = utils.shapes_to_label(size, opened.shapes, numbers)
        np.save(folder / f"{path.stem}.npy", classes.astype(np.int16))


if __name__ == "__main__":
    logger.remove()
    for argument in sys.argv[1:]:
        main(Path(argument))
