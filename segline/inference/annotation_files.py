"""Outlined regions -> what labelling tools open: COCO instances, one JSON of LabelMe an image, XML of CVAT.

annotations.json           coco: of all images. A region is an annotation: with tolerance 0, or many holes, its exact
                           pixels as run lengths, otherwise a polygon that goes around its holes
annotations/<image>.json   labelme: to be copied beside the images. Polygons, each above those before it
annotations.xml            cvat: "CVAT for images 1.1" of all images. Polygons, each with a z-order of its own

Pixels without data are in no class, nor are those that a class encloses: LabelMe ignores them, COCO leaves them out. In
CVAT they are of the unlabelled class, as those outside are; if there is none, regions with holes are masks.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt

from segline.core import atomic
from segline.core.errors import DataError
from segline.dataset import onehot, raw
from segline.inference import annotations
from segline.inference.annotations import Region, Request
from segline.inference.input_files import InputImage
from segline.model.watershed import Found

Uint8 = npt.NDArray[np.uint8]
Json = dict[str, Any]
Places = dict[str, tuple[int, int]]  # begin and end of what an image has in a file

FOLDER = "annotations"
NAMES = {"coco": "annotations.json", "labelme": f"{FOLDER}/<image>.json", "cvat": "annotations.xml"}
_LABELME = "6.3.1"  # the version whose form this is
# LabelMe's exporter cuts coordinates off to whole numbers and draws these pixels, the outline among them: a quarter of
# a pixel inside of its region, each point is in the right one, and the outline is seen where it belongs.
_INSET = 0.25
_IGNORED = "__ignore__"  # LabelMe's own label of pixels that are in no class
_MOST_HOLES = 200  # of a polygon of COCO: no one can edit more, and one outline around all takes time by their square


@dataclass(frozen=True)
class Outlined:
    """An image as a labelling tool knows it, and its regions."""

    file_name: str
    height: int
    width: int
    regions: Sequence[Region]


class Annotations:
    """The annotations of a prediction, added image by image from any thread, and written once all are there.

    Those of a chunk of the images wait in the new file `spool`, until the others join it.
    """

    def __init__(self, folder: Path, classes: Sequence[raw.Label], request: Request, spool: Path | None = None) -> None:
        self._folder, self._classes, self._request = folder, classes, request
        self._lock = Lock()
        self._spool: IO[bytes] = spool.open("w+b") if spool else tempfile.TemporaryFile()  # noqa: SIM115 - for long
        self._places: Places = {}

    def add(self, name: str, file: Path, mask: Uint8, found: Found | None = None) -> None:
        """The regions of an image, whose file is named as the tool will find it; `found` are its objects, if the model
        has learnt them. Raises OSError."""
        height, width = mask.shape
        regions = [*annotations.regions(mask, self._request.least_area, found)]
        image = Outlined(f"{name}{file.suffix}", height, width, regions)
        if self._request.form == "labelme":
            document = labelme(image, self._classes, self._request)
            with atomic.file(self._folder / FOLDER / f"{name}.json") as temporary:
                temporary.write_bytes(_json(document))
            return
        if self._request.form == "coco":
            size = {"height": image.height, "width": image.width}
            content = _json({"file_name": image.file_name, **size, "objects": coco(image, self._request)})
        else:
            content = ET.tostring(cvat(image, self._classes, self._request), "utf-8")
        self._append(name, content)

    def _append(self, name: str, content: bytes) -> None:
        with self._lock:
            begin = self._spool.seek(0, 2)
            self._spool.write(content)
            self._places[name] = begin, self._spool.tell()

    def places(self) -> Places:
        """Where each image is in the spool; nothing can be added then."""
        self._spool.close()
        return self._places

    def join(self, spool: Path, places: Places) -> None:
        """Adds what a chunk has."""
        with spool.open("rb") as stream:
            for name, (begin, end) in places.items():
                stream.seek(begin)
                self._append(name, stream.read(end - begin))

    def drop(self, name: str) -> None:
        """Takes back what was added of an image."""
        self._places.pop(name, None)
        with suppress(OSError):
            (self._folder / FOLDER / f"{name}.json").unlink()

    def write(self, order: Sequence[str]) -> None:
        """Writes the file of all images, in this order; nothing can be added then. Raises OSError."""
        with self._spool:
            self._write(order)

    def _write(self, order: Sequence[str]) -> None:
        added = (self._content(name) for name in order if name in self._places)
        if self._request.form == "coco":
            lines = _coco_lines(added, self._classes)
        elif self._request.form == "cvat":
            lines = _cvat_lines(added, self._classes)
        else:
            return
        with atomic.file(self._folder / NAMES[self._request.form]) as temporary, temporary.open("wb") as stream:
            stream.writelines(lines)

    def _content(self, name: str) -> bytes:
        begin, end = self._places[name]
        self._spool.seek(begin)
        return self._spool.read(end - begin)


def require_names(form: str, sources: Sequence[InputImage]) -> None:
    """Raises DataError for an image that a file of this form cannot name."""
    for source in sources:
        if source.page is not None:
            problem = "has several pages, and labelling tools open one"
            raise DataError(
                source.path, problem, "Save each page as a file of its own, or predict without --annotations."
            )
        if form == "cvat" and not source.name.isprintable():
            raise DataError(source.path, "a name with characters that XML cannot hold", "Rename the file.")


def labelme(image: Outlined, classes: Sequence[raw.Label], request: Request) -> Json:
    """The document of an image that lies beside it. A hole is a polygon of its class that follows."""
    kept: Json = {"group_id": None, "description": "", "shape_type": "polygon", "flags": {}, "mask": None}
    shapes = []
    for region in annotations.stacked(image.regions, image.height, image.width, request.unlabelled):
        outline = annotations.simplified(annotations.inset(region.outline, _INSET), request.tolerance)
        label = _IGNORED if region.value == onehot.VOID else classes[region.value].name
        shapes.append({"label": label, "points": outline.tolist(), **kept})
    size = {"imageHeight": image.height, "imageWidth": image.width}
    name = image.file_name.rpartition("/")[2]
    return {"version": _LABELME, "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None, **size}


def coco(image: Outlined, request: Request) -> list[Json]:
    """The annotations of an image, without their numbers."""
    from pycocotools import mask as coco_mask  # noqa: PLC0415

    size, objects = (image.height, image.width), []
    for region in image.regions:
        if region.value in (request.unlabelled, onehot.VOID):
            continue
        rings = (region.outline, *region.holes)
        shape: Json = {"iscrowd": 0}
        if request.tolerance and len(region.holes) <= _MOST_HOLES:
            rings = tuple(annotations.simplified(ring, request.tolerance) for ring in rings)
            polygon = annotations.keyhole(rings[0], rings[1:]).ravel().tolist()
            (runs,) = coco_mask.frPyObjects([polygon], *size)
            shape["segmentation"] = [polygon]
        else:
            runs = coco_mask.frPyObjects({"size": [*size], "counts": annotations.runs(rings, *size)}, *size)
            shape["segmentation"] = {"size": [*size], "counts": runs["counts"].decode("ascii")}
        box = [float(value) for value in coco_mask.toBbox(runs)]
        objects.append({"category_id": region.value + 1, "area": int(coco_mask.area(runs)), "bbox": box, **shape})
    return objects


def cvat(image: Outlined, classes: Sequence[raw.Label], request: Request) -> ET.Element:
    """The element of an image, without its number. A hole is a polygon of its class with a higher z-order."""
    given = {"name": image.file_name, "width": str(image.width), "height": str(image.height)}
    element = ET.Element("image", given)
    stacked = annotations.stacked(image.regions, image.height, image.width, request.unlabelled)
    encloses_void = any(region.value == onehot.VOID for region in stacked)
    for order, region in enumerate(stacked):
        value = region.value if region.value != onehot.VOID else request.unlabelled
        if value is None:
            continue
        shown = {"label": classes[value].name, "source": "auto", "occluded": "0", "z_order": str(order)}
        if encloses_void and request.unlabelled is None and region.holes:
            ET.SubElement(element, "mask", {**shown, **_cvat_mask(region)})
            continue
        outline = annotations.simplified(region.outline, request.tolerance)
        points = ";".join(f"{x:.2f},{y:.2f}" for x, y in outline.tolist())
        ET.SubElement(element, "polygon", {**shown, "points": points})
    return element


def _cvat_mask(region: Region) -> dict[str, str]:
    """The exact pixels: runs along the rows of the box around them."""
    corner = region.outline.min(axis=0)
    width, height = (region.outline.max(axis=0) - corner).astype(int).tolist()
    turned = [(ring - corner)[:, ::-1] for ring in (region.outline, *region.holes)]
    left, top = corner.astype(int).tolist()
    box = {"left": left, "top": top, "width": width, "height": height}
    lengths = annotations.runs(turned, width, height)
    return {"rle": ", ".join(map(str, lengths)), **{key: str(value) for key, value in box.items()}}


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8")


def _coco_lines(added: Iterator[bytes], classes: Sequence[raw.Label]) -> Iterator[bytes]:
    """The lines of the file, one for each annotation; images and categories are numbered from 1."""
    categories = [{"id": number, "name": label.name} for number, label in enumerate(classes, start=1)]
    yield b'{"categories": ' + _json(categories) + b',\n"annotations": ['
    images, count = [], 0
    for number, content in enumerate(added, start=1):
        image = json.loads(content)
        objects = image.pop("objects")
        images.append({"id": number, **image})
        for each in objects:
            count += 1
            yield (b",\n" if count > 1 else b"\n") + _json({"id": count, "image_id": number, **each})
    yield b'],\n"images": [\n' + b",\n".join(map(_json, images)) + b"\n]}\n"


def _cvat_lines(added: Iterator[bytes], classes: Sequence[raw.Label]) -> Iterator[bytes]:
    """The lines of the file, one for each image; images are numbered from 0."""
    labels = ET.Element("labels")
    for label in classes:
        element = ET.SubElement(labels, "label")
        ET.SubElement(element, "name").text = label.name
        ET.SubElement(element, "color").text = "#{:02x}{:02x}{:02x}".format(*label.rgb)
        ET.SubElement(element, "attributes")
    yield b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>'
    yield ET.tostring(labels, "utf-8") + b"</task></meta>\n"
    for number, content in enumerate(added):
        yield b'<image id="%d"' % number + content.removeprefix(b"<image") + b"\n"
    yield b"</annotations>\n"
