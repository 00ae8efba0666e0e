"""A Label Studio export, and the class and object arrays that its own library and pycocotools make of it.

Runs where label-studio-sdk is installed: see ../compare.py. `export.json` and `images/<n>.png`; for task n
`<n>.class.npy`, uint8 (H, W) with 0 = no object and 1, 2, 3 = car, road, sky, and `<n>.objects.npy`.
"""

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from label_studio_sdk.converter import Converter, brush
from label_studio_sdk.converter.utils import convert_annotation_to_yolo_obb
from PIL import Image
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 30, 47
NAMES = ("car", "road", "sky")
LABELS = "".join(f'<Label value="{name}"/>' for name in NAMES)
TAGS = {"Polygon": "polygon", "Rectangle": "box", "Brush": "brush"}
CONTROLS = [f'<{tag}Labels name="{name}" toName="image">{LABELS}</{tag}Labels>' for tag, name in TAGS.items()]
CONFIG = f'<View><Image name="image" value="$image"/>{"".join(CONTROLS)}</View>'

Result = dict[str, Any]


def result(kind: str, label: str, **value: Any) -> Result:
    """With the keys that Label Studio's window writes."""
    return {
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {**value, f"{kind}labels": [label]},
        "from_name": {"rectangle": "box"}.get(kind, kind),
        "to_name": "image",
        "type": f"{kind}labels",
        "origin": "manual",
    }


def polygons() -> list[Result]:
    """Of three to nine points, crossing themselves, above each other."""
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(20):
        points = rng.uniform((10, 10), (90, 90)) + rng.normal(0, 12, (rng.integers(3, 10), 2))
        inside = np.clip(points, 0, 100).tolist()
        drawn.append(result("polygon", str(rng.choice(NAMES)), points=inside, closed=True))
    return drawn


def rectangles() -> list[Result]:
    """Upright and turned."""
    rng = np.random.default_rng(2)
    drawn = []
    for turn in (0, 0, 90, 30.5, 317.25, 180, 12):
        x, y, width, height = (*rng.uniform(20, 60, 2), *rng.uniform(10, 35, 2))
        box = {"x": float(x), "y": float(y), "width": float(width), "height": float(height), "rotation": turn}
        drawn.append(result("rectangle", str(rng.choice(NAMES)), **box))
    return drawn


def strokes() -> list[Result]:
    """Of noise, of large areas, and of a single pixel."""
    rng = np.random.default_rng(3)
    drawn = []
    for share, label in ((0.5, "road"), (0.02, "car"), (0.98, "sky"), (0.3, "car")):
        painted = np.where(rng.random((HEIGHT, WIDTH)) < share, 255, 0).astype(np.uint8)
        painted[: HEIGHT // 2, : WIDTH // 3] = 0
        drawn.append(result("brush", label, format="rle", rle=brush.mask2rle(painted)))
    return drawn


def mixed() -> list[Result]:
    """One of each, in turn."""
    return [each for row in zip(polygons(), rectangles(), strokes(), strict=False) for each in row]


def regions(task: dict[str, Any]) -> list[np.ndarray]:
    """The pixels of each result, as the library's exports have them."""
    with tempfile.TemporaryDirectory() as temporary:
        export = Path(temporary, "export.json")
        export.write_text(json.dumps([task]))
        converter = Converter(config=CONFIG, project_dir=temporary, download_resources=False)
        converter.convert_to_coco(str(export), temporary, is_dir=False)
        coco = json.loads(Path(temporary, "result.json").read_text())
    outlines = iter([each["segmentation"] for each in coco["annotations"] if each["segmentation"]])
    found = []
    for each in task["annotations"][0]["result"]:
        if each["type"] == "brushlabels":
            found.append(brush.decode_rle(each["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)[:, :, 3] > 0)
            continue
        label = {**each["value"], "original_width": WIDTH, "original_height": HEIGHT}
        outline = (
            next(outlines)
            if each["type"] == "polygonlabels"
            else [[c for corner in convert_annotation_to_yolo_obb(label, normalize=False) for c in corner]]
        )
        found.append(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(outline, HEIGHT, WIDTH))) > 0)
    return found


def main(out: Path) -> None:
    """Writes all files, and what they were made with, to `out`."""
    (out / "images").mkdir()
    tasks = []
    for number, results in enumerate([polygons(), rectangles(), strokes(), mixed()], start=1):
        rows, columns = np.indices((HEIGHT, WIDTH))
        picture = np.stack([rows * 5, columns * 5, rows * number], axis=2).astype(np.uint8)
        Image.fromarray(picture).save(out / f"images/{number}.png")
        for place, each in enumerate(results):
            each["id"] = f"r{place}"
        annotation = {"id": number, "result": results, "was_cancelled": False, "created_at": "2026-01-01T00:00:00Z"}
        name = f"0123abcd-{number}.png"
        data = {"image": f"/data/upload/1/{name}"}
        tasks.append({"id": number, "annotations": [annotation], "file_upload": name, "data": data, "predictions": []})
        classes, objects = np.zeros((2, HEIGHT, WIDTH), np.uint8)
        for place, (each, inside) in enumerate(zip(results, regions(tasks[-1]), strict=True), start=1):
            label = each["value"][each["type"]][0]
            classes[inside], objects[inside] = NAMES.index(label) + 1, place
        np.save(out / f"{number}.class.npy", classes)
        np.save(out / f"{number}.objects.npy", objects)
    (out / "export.json").write_text(json.dumps(tasks))
    packages = ("label-studio-sdk", "numpy", "pycocotools", "pillow")
    (out / "made_with.txt").write_text("".join(f"{name} {version(name)}\n" for name in packages))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
