"""An export of each of CVAT's two formats: the XML, and masks from datumaro, the library with which CVAT exports them.

Runs where datumaro is installed: see ../compare.py. CVAT's own datumaro is a branch of 0.3, which is not published as a
package; later releases keep coordinates in 32 bits, CVAT does not. The transforms are those of CVAT's exporter
(cvat/apps/dataset_manager/formats/mask.py of CVAT 2), which turns rotated boxes and ellipses into polygons and masks
itself: so does `annotation` here.
"""

import math
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
import PIL.Image
from datumaro.components.annotation import AnnotationType, Bbox, LabelCategories, Mask, Polygon, PolyLine
from datumaro.components.dataset import Dataset
from datumaro.components.extractor import DatasetItem
from datumaro.components.media import Image

HEIGHT, WIDTH = 30, 40
COLOURS = {"background": (0, 0, 0), "car": (250, 50, 83), "road": (36, 179, 83), "sky": (51, 221, 255)}
LABELS = ("car", "road", "sky")


@dataclass
class Shape:
    """`data` is points, corners of a box, (left, top, pixels) of a mask, or centre and radii of an ellipse."""

    kind: str
    label: str
    data: Any
    z_order: int = 0
    group: int = 0
    rotation: float = 0.0


def attributes(shape: Shape) -> dict[str, str]:
    """What CVAT writes into the tag."""
    found = {"label": shape.label, "source": "manual", "occluded": "0"}
    if shape.kind in ("polygon", "polyline", "points"):
        found["points"] = ";".join(f"{x:.2f},{y:.2f}" for x, y in shape.data)
    elif shape.kind == "mask":
        left, top, inside = shape.data
        height, width = inside.shape
        found["rle"] = ", ".join(map(str, run_lengths(inside)))
        found |= {"left": str(left), "top": str(top), "width": str(width), "height": str(height)}
    else:
        keys = ("xtl", "ytl", "xbr", "ybr") if shape.kind == "box" else ("cx", "cy", "rx", "ry")
        found |= {key: f"{value:.2f}" for key, value in zip(keys, shape.data, strict=True)}
    found |= {"rotation": f"{shape.rotation:.2f}"} if shape.rotation else {}
    found["z_order"] = str(shape.z_order)
    return found | ({"group_id": str(shape.group)} if shape.group else {})


def run_lengths(inside: np.ndarray) -> list[int]:
    """Along the rows; the first is of pixels outside."""
    flat = inside.ravel().astype(int)
    ends = [0, *(np.flatnonzero(np.diff(flat)) + 1), len(flat)]
    return ([0] if flat[0] else []) + [int(length) for length in np.diff(ends)]


def annotation(shape: Shape) -> Any:
    """What CVAT hands to datumaro."""
    common = {"label": LABELS.index(shape.label), "z_order": shape.z_order, "group": shape.group}
    if shape.kind == "polygon":
        return Polygon(np.ravel(shape.data).round(2).tolist(), **common)
    if shape.kind == "box":
        left, top, right, bottom = shape.data
        if not shape.rotation:
            return Bbox(left, top, right - left, bottom - top, **common)
        x, y, angle = left + (right - left) / 2, top + (bottom - top) / 2, math.radians(shape.rotation)
        cosine, sine = math.cos(angle), math.sin(angle)
        turned = []
        for across, down in (
            (left - x, top - y),
            (right - x, top - y),
            (right - x, bottom - y),
            (left - x, bottom - y),
        ):
            turned += [x + cosine * across - sine * down, y + sine * across + cosine * down]
        return Polygon(turned, **common)
    if shape.kind == "mask":
        left, top, part = shape.data
        inside = np.zeros((HEIGHT, WIDTH), np.uint8)
        inside[top : top + part.shape[0], left : left + part.shape[1]] = part
        return Mask(inside, **common)
    if shape.kind == "ellipse":
        x, y, across, down = (round(value) for value in shape.data)
        inside = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.ellipse(inside, (x, y), (across, down), shape.rotation, 0, 360, 1, thickness=-1)
        return Mask(inside, **common)
    return PolyLine(np.ravel(shape.data).tolist(), **common)


def is_rotated_box(shape: Shape) -> bool:
    """CVAT's RotatedBoxesToPolygons puts these behind all others."""
    return shape.kind == "box" and shape.rotation != 0


def images() -> dict[str, list[Shape]]:
    """Name -> shapes of each image."""
    rng = np.random.default_rng(3)
    noise, corner = rng.random((12, 9)) < 0.5, rng.random((8, 10)) < 0.6
    heap = [
        Shape(
            "polygon",
            str(rng.choice(LABELS)),
            rng.uniform((5, 5), (WIDTH - 5, HEIGHT - 5)) + rng.normal(0, 7, (rng.integers(3, 9), 2)),
            z_order=int(rng.integers(-2, 3)),
        )
        for _ in range(20)
    ]
    boxes = []
    for _ in range(20):
        first, size = rng.uniform(0, 25, 2).round(2), rng.uniform(1, 12, 2).round(2)
        data = (*first.tolist(), *(first + size).round(2).tolist())
        rotation = float(rng.choice([0, 0, 33.33, 90, 180, 301.5]))
        boxes.append(Shape("box", str(rng.choice(LABELS)), data, rotation=rotation))
    return {
        "kinds.png": [
            Shape("polygon", "sky", [[0, 0], [39.61, 0.4], [38.25, 9.75], [1.5, 12.5]]),
            Shape("box", "road", (3.26, 18.43, 35.5, 28.71)),
            Shape("mask", "car", (12, 11, noise)),
            Shape("mask", "sky", (30, 22, corner)),
            Shape("ellipse", "car", (30.5, 9.5, 7.25, 3.5), rotation=33.0),
            Shape("ellipse", "road", (2.2, 27.4, 6.6, 8.1)),
            Shape("polyline", "car", [[1, 1], [20, 20]]),
            Shape("points", "car", [[30, 3]]),
        ],
        "z_orders.png": [
            Shape("box", "car", (5, 5, 20, 20), z_order=2),
            Shape("box", "road", (0, 10, 40, 16), z_order=-1),
            Shape("box", "sky", (10, 8, 33, 12), rotation=20.0),
            Shape("box", "sky", (15, 2, 30, 14)),
            Shape("polygon", "road", [[18, 0], [39, 0], [39, 29]], z_order=2),
        ],
        "groups.png": [
            Shape("box", "car", (1, 1, 6, 28), group=9),
            Shape("box", "sky", (3, 3, 12, 12), group=2),
            Shape("box", "road", (10, 8, 30, 12), group=9),
            Shape("polygon", "road", [[4, 4], [39, 4], [39, 20], [4, 6]]),
            Shape("box", "sky", (25, 6, 35, 18), group=2, z_order=1),
        ],
        "boxes.png": boxes,
        "sub folder/heap.png": heap,
        "nothing.png": [],
    }


def xml(described: dict[str, list[Shape]]) -> str:
    """As CVAT writes it."""
    labels = "".join(f"<label><name>{name}</name><attributes></attributes></label>" for name in LABELS)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<annotations>",
        "  <version>1.1</version>",
        f"  <meta><task><name>streets</name><labels>{labels}</labels></task></meta>",
    ]
    for number, (name, shapes) in enumerate(described.items()):
        lines.append(f'  <image id="{number}" name={quoteattr(name)} width="{WIDTH}" height="{HEIGHT}">')
        for shape in shapes:
            written = " ".join(f"{key}={quoteattr(value)}" for key, value in attributes(shape).items())
            lines += [f"    <{shape.kind} {written}>", f"    </{shape.kind}>"]
        lines.append("  </image>")
    return "\n".join([*lines, "</annotations>", ""])


def main(out: Path) -> None:
    """Writes `images/`, `annotations.xml`, the folder `masks/`, and what they were made with to `out`."""
    described = images()
    rows, columns = np.indices((HEIGHT, WIDTH))
    picture = PIL.Image.fromarray(np.stack([rows * 6, columns * 5, rows + columns], axis=2).astype(np.uint8))
    for name in described:
        (out / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(out / "images" / name)
    (out / "annotations.xml").write_text(xml(described))
    items = [
        DatasetItem(
            id=name.removesuffix(".png"),
            subset="default",
            media=Image(path=str(out / "images" / name), size=(HEIGHT, WIDTH)),
            annotations=[annotation(shape) for shape in sorted(shapes, key=is_rotated_box)],
        )
        for name, shapes in described.items()
    ]
    dataset = Dataset.from_iterable(items, categories={AnnotationType.label: LabelCategories.from_iterable(LABELS)})
    dataset.transform("polygons_to_masks")
    dataset.transform("boxes_to_masks")
    dataset.transform("merge_instance_segments")
    label_map = {name: [colour, [], []] for name, colour in COLOURS.items()}
    dataset.export(str(out / "masks"), "voc_segmentation", save_media=True, apply_colormap=True, label_map=label_map)
    names = ("datumaro", "numpy", "opencv-python", "pillow", "pycocotools")
    (out / "made_with.txt").write_text("".join(f"{name} {version(name)}\n" for name in names))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
