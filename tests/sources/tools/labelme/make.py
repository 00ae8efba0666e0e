"""Annotation files as labelme writes them, and the class and object arrays that its own library makes of them.

Runs where labelme is installed: see ../compare.py. `made/<stem>.json` with the image beside it or embedded, and
`made/<stem>.class.npy` and `.objects.npy`, int8 (H, W): -1 is `__ignore__`, 0 `_background_`.
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ["QT_QPA_PLATFORM"] = "offscreen"

import labelme
import numpy as np
import PIL
import PIL.Image
from labelme import utils
from labelme._label_file import read_image_file
from loguru import logger

HEIGHT, WIDTH = 30, 40
NUMBERS = {"__ignore__": -1, "_background_": 0, "car": 1, "road": 2, "sky": 3}

Shape = dict[str, Any]


def shape(label: str, points: list[list[float]], kind: str = "polygon", group: int | None = None, **more: Any) -> Shape:
    """A shape with the keys that labelme's window writes."""
    kept = {"description": "", "flags": {}, "mask": None}
    return {"label": label, "points": points, "group_id": group, "shape_type": kind, **kept, **more}


def all_kinds() -> list[Shape]:
    """One of each kind, none at whole pixels."""
    return [
        shape("sky", [[0, 0], [39.6, 0.4], [38.2, 9.7], [1.5, 12.5]]),
        shape("road", [[35.5, 28.7], [3.2, 18.4]], "rectangle"),
        shape("car", [[12.3, 21.1], [17.9, 23.6]], "circle"),
        shape("car", [[22.2, 14.4], [33.3, 16.6], [31.1, 24.4], [20.0, 22.2]], "oriented_rectangle"),
        shape("road", [[2.5, 2.5], [20.4, 27.1]], "line"),
        shape("sky", [[36.4, 3.3], [30.1, 8.8], [37.7, 20.2]], "linestrip"),
        shape("car", [[7.7, 25.2]], "point"),
    ]


def grouped() -> list[Shape]:
    """Two parts of one object, another object with the same number but another label, and one below and above them."""
    return [
        shape("road", [[0, 10], [39, 10], [39, 20], [0, 20]]),
        shape("car", [[2, 5], [10, 5], [10, 25], [2, 25]], group=7),
        shape("sky", [[6, 8], [20, 8], [20, 14], [6, 14]], group=7),
        shape("car", [[16, 5], [26, 5], [26, 25], [16, 25]], group=7),
        shape("car", [[22, 12], [36, 12], [36, 18], [22, 18]]),
    ]


def special() -> list[Shape]:
    """What is not to be scored, and what is no object, above objects and below one."""
    return [
        shape("road", [[1, 1], [38, 1], [38, 28], [1, 28]]),
        shape("__ignore__", [[5.5, 5.5], [20.5, 5.5], [20.5, 20.5]]),
        shape("_background_", [[25, 3], [35, 14]], "rectangle"),
        shape("car", [[15, 10], [30, 17]], "rectangle"),
    ]


def masks() -> list[Shape]:
    """Embedded masks, one of them at the corner of the image, the next above part of it."""
    rng = np.random.default_rng(1)
    drawn = [shape("road", [[0, 0], [39, 0], [39, 29]])]
    for label, left, top, right, bottom in (("car", 25, 18, 39, 29), ("sky", 20, 15, 30.7, 25.2)):
        inside = rng.random((int(bottom) - top + 1, int(right) - left + 1)) < 0.6
        content = utils.img_arr_to_b64(inside.astype(np.uint8))
        drawn.append(shape(label, [[left, top], [right, bottom]], "mask", mask=content))
    return drawn


def random_polygons() -> list[Shape]:
    """Of three to nine points, crossing themselves, reaching out of the image."""
    rng = np.random.default_rng(2)
    drawn = []
    for _ in range(25):
        centre = rng.uniform((5, 5), (WIDTH - 5, HEIGHT - 5))
        points = centre + rng.normal(0, 6, (rng.integers(3, 10), 2))
        drawn.append(shape(str(rng.choice(["car", "road", "sky"])), points.round(3).tolist()))
    return drawn


def picture(path: Path, orientation: int = 1) -> None:
    """A small image file; its Exif tag turns it."""
    rows, columns = np.indices((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))
    pixels = np.stack([rows * 6, columns * 5, rows + columns], axis=2).astype(np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PIL.Image.fromarray(pixels).save(path, **({"exif": exif} if orientation > 1 else {}))


def main(out: Path) -> None:
    """Writes all files, and what they were made with, to `out`."""
    logger.remove()
    cases = {
        "kinds.png": all_kinds(),
        "grouped.png": grouped(),
        "special.png": special(),
        "masks.png": masks(),
        "random.png": random_polygons(),
        "embedded.png": grouped(),
        "turned.jpg": all_kinds(),
        "turned_and_embedded.jpg": special(),
    }
    for name, shapes in cases.items():
        path = out / name
        picture(path, 6 if name.startswith("turned") else 1)
        content = read_image_file(str(path))
        label_file = path.with_suffix(".json")
        labelme.LabelFile().save(
            str(label_file),
            shapes=shapes,
            image_path=name,
            image_height=HEIGHT,
            image_width=WIDTH,
            image_data=content if "embedded" in name else None,
        )
        if "embedded" in name:
            path.unlink()
    for path in sorted(out.glob("*.json")):
        loaded = labelme.LabelFile(str(path))
        size = utils.img_data_to_arr(loaded.image_data).shape
        classes, objects = utils.shapes_to_label(size, loaded.shapes, NUMBERS)
        objects[classes == -1] = 0
        np.save(path.with_suffix(".class.npy"), classes.astype(np.int8))
        np.save(path.with_suffix(".objects.npy"), objects.astype(np.int8))
    made_with = {"labelme": labelme.__version__, "numpy": np.__version__, "pillow": PIL.__version__}
    (out / "made_with.txt").write_text("".join(f"{name} {version}\n" for name, version in made_with.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
