"""The first of a ranking -> one HTML page: image, label and prediction, with the disputed regions outlined."""

import base64
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from segline.labels import quality
from segline.labels.quality import Assessed, Bool, Uint8
from segline.labels.ranking import RankedImage, RankedObject, Ranking, class_pairs
from segline.reporting import drawing, templates
from segline.reproducibility.out_of_fold import Image

TEMPLATE = "labels.html"
SHOWN = 24  # images, and objects
SIDE = 320  # of a picture, in pixels
OUTLINED = 3  # of the objects of an image: its most suspicious
_AROUND = 2  # times the side of an object: that much of its image is shown


def render(images: Sequence[Image], ranking: Ranking, dataset: str) -> str:
    """The page: it requests nothing, and every name in it is escaped."""
    names = [label.name for label in images[0].classes]
    template = templates.environment("labels").get_template(TEMPLATE)
    return template.render(
        dataset=dataset,
        images=[_image(images[each.number], each, ranking) for each in ranking.images[:SHOWN]],
        objects=[_object(images[each.image], each, ranking) for each in ranking.objects[:SHOWN]],
        pairs=class_pairs(names, ranking)[:SHOWN],
        legend=images[0].classes,
        outlined=OUTLINED,
        total={"images": len(ranking.images), "objects": len(ranking.objects)},
    )


def _image(image: Image, ranked: RankedImage, ranking: Ranking) -> dict[str, Any]:
    labels, predicted, assessed = _assessed(image, ranking)
    whole = 0, 0, labels.shape[1], labels.shape[0]
    first = [each.dispute for each in ranking.objects if each.image == ranked.number][:OUTLINED]
    outlined = np.isin(assessed.numbers, [dispute.number for dispute in first])
    views = _views(image, labels, predicted, outlined, whole)
    pairs = list(dict.fromkeys((each.label, each.prediction) for each in first))
    return {"name": image.name, "ranked": ranked, "views": views, "pairs": [_named(image, *pair) for pair in pairs]}


def _object(image: Image, ranked: RankedObject, ranking: Ranking) -> dict[str, Any]:
    labels, predicted, assessed = _assessed(image, ranking)
    dispute = ranked.dispute
    box = _around(dispute.box, *labels.shape)
    views = _views(image, labels, predicted, assessed.numbers == dispute.number, box)
    return {"name": image.name, "dispute": dispute, "views": views, **_named(image, dispute.label, dispute.prediction)}


def _named(image: Image, label: int, prediction: int) -> dict[str, str]:
    return {"label": image.classes[label].name, "prediction": image.classes[prediction].name}


def _assessed(image: Image, ranking: Ranking) -> tuple[Uint8, Uint8, Assessed]:
    labels, planes = image.labels(), image.planes()
    assessed = quality.assess(labels, planes, ranking.usual)
    return labels, planes.argmax(axis=0).astype(np.uint8), assessed


def _around(box: tuple[int, int, int, int], height: int, width: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the part of an image that shows this box and what is around it."""
    left, top, wide, high = box
    side = max(wide, high, SIDE // 8) * _AROUND
    x, y = left + wide // 2 - side // 2, top + high // 2 - side // 2
    return max(0, x), max(0, y), min(width, x + side), min(height, y + side)


def _views(
    image: Image, labels: Uint8, predicted: Uint8, outlined: Bool, box: tuple[int, int, int, int]
) -> list[tuple[str, str]]:
    """A title and a picture, as a data URL, for the image, its labels and its prediction."""
    left, top, right, bottom = box
    part = slice(top, bottom), slice(left, right)
    colours = drawing.palette(image.classes, image.index.void)
    pictures = {
        "Image": image.picture()[part],
        "Label": colours[labels[part]],
        "Prediction": colours[predicted[part]],
    }
    return [(title, _encoded(picture, outlined[part])) for title, picture in pictures.items()]


def _encoded(picture: Uint8, outlined: Bool) -> str:
    """The picture, scaled to `SIDE` pixels, with a black and white line along the border of a region."""
    factor = SIDE / max(picture.shape[:2])
    size = tuple(max(1, round(side * factor)) for side in picture.shape[1::-1])
    large = np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    mask: Any = cv2.resize(outlined.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    lines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for shade, thickness in ((0, 3), (255, 1)):
        cv2.drawContours(large, lines, -1, (shade,) * 3, thickness)
    return f"data:image/png;base64,{base64.b64encode(drawing.png(large)).decode('ascii')}"
