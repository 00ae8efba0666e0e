"""Results and pictures -> one self-contained HTML page."""

import base64
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segline.core import params
from segline.dataset import processed
from segline.reporting import (
    contact_sheets,
    drawing,
    formatting,
    object_results,
    preparation_facts,
    results,
    selection,
    templates,
    whole_images,
)
from segline.reporting.formatting import percent
from segline.reporting.pictures import Shown

TEMPLATE, CODE = "report.html", "report.js"
VIEWER_BYTES = 2_000_000


@dataclass(frozen=True)
class Material:
    """What the page shows. `predictions` are class indices uint8 (N, H, W); `objects` are None if none were found."""

    split: processed.Split
    predictions: npt.NDArray[np.uint8]
    results: results.Results
    parameters: params.Document
    objects: object_results.Objects | None = None

    @property
    def index(self) -> processed.Index:
        """As scores see it."""
        return object_results.scored(self.split.index)

    def views(self, number: int) -> whole_images.Views:
        """The image of this number: as a whole, and a close-up if it was cut into tiles."""
        return whole_images.views(self.split, self.predictions, number)


def render(material: Material, shown: Shown, curves: Mapping[str, bytes], reliability: bytes) -> str:
    """The page: it requests nothing, equal inputs give equal text, and every name in it is escaped.

    `curves` maps titles to the bytes of PNG files; `reliability` are those of the diagram.
    """
    environment = templates.environment()
    environment.filters["compact"] = formatting.compact
    code = environment.get_template(CODE).render()
    index, evaluation = material.index, material.results.evaluation
    return environment.get_template(TEMPLATE).render(
        index=index,
        fit=index.preparation.fit,
        unscored=contact_sheets.unscored(index),
        evaluation=evaluation,
        network=params.text(material.parameters, "model.name"),
        names=[label.name for label in index.classes],
        scores=formatting.SCORES,
        costs=formatting.costs(index.preparation),
        few=material.results.few,
        absent=material.results.absent,
        only=material.results.only_prediction,
        classes=list(zip(index.classes, material.results.classes, strict=True)),
        pixels=int(material.results.confusion.sum()),
        confusion=_shares(material.results.confusion),
        gallery=list(_gallery(material, shown)),
        jumps={pick.kind: pick.rank for pick in selection.one_a_kind(pick for pick, _ in shown)},
        viewer=_viewer(material, shown),
        side=whole_images.SIDE,
        preparation=list(preparation_facts.facts(index.preparation).items()),
        seam=formatting.SEAM,
        bands=preparation_facts.shown(index.preparation),
        kinds=object_results.COLOURS,
        rates=formatting.OBJECT_SCORES,
        sizes=object_results.by_size(material.objects.rows) if material.objects else [],
        reliability=data_uri(reliability, "image/png"),
        curves={title: data_uri(picture, "image/png") for title, picture in curves.items()},
        parameters=[(key, formatting.written(value)) for key, value in params.flat(material.parameters).items()],
        protocol=[(formatting.PROTOCOL.get(key, key), value) for key, value in evaluation.protocol.items()],
        code=code,
        code_hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
    )


def data_uri(content: bytes, kind: str) -> str:
    """The content as a `data:` URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _shares(counts: npt.NDArray[np.int64]) -> list[list[tuple[int, float | None]]]:
    """(count, share of its row) for each cell; the share is None in a row without pixels."""
    rows = counts.tolist()
    return [[(count, count / sum(row) if sum(row) else None) for count in row] for row in rows]


def _gallery(material: Material, shown: Shown) -> Iterator[dict[str, Any]]:
    colours = drawing.palette(material.split.index.classes, material.split.index.void)
    for pick, views in shown:
        whole, *closeup = (_sources(four) for four in views.panels(colours))
        if material.objects:
            outlines = whole_images.lines(material.split, material.objects.outlines, pick.image)
            picture = object_results.outlined(views.whole.image, outlines)
            whole["objects"] = data_uri(drawing.png(picture), "image/png")
        yield {
            "pick": pick,
            "score": material.results.images[pick.image],
            "panels": whole,
            "closeup": {"panels": closeup[0], "place": views.closeup.place} if views.closeup else None,
        }


def _sources(four: drawing.Panels) -> dict[str, str]:
    image, error = (data_uri(drawing.jpeg(panel), "image/jpeg") for panel in (four.image, four.error))
    truth, prediction = (data_uri(drawing.png(panel), "image/png") for panel in (four.truth, four.prediction))
    return {"image": image, "truth": truth, "prediction": prediction, "error": error}


def _viewer(material: Material, shown: Shown) -> dict[str, Any]:
    """The data that report.js reads: every picked image, and as many of the others as fit in `VIEWER_BYTES`."""
    order = selection.order(material.results.images)
    chosen = {pick.rank - 1: pick.kind for pick, _ in shown}
    payloads = {pick.rank - 1: _payload(views) for pick, views in shown}
    largest = max(_characters(payload) for payload in payloads.values())
    others = np.linspace(0, len(order) - 1, min(len(order), VIEWER_BYTES // largest)).round().astype(int).tolist()
    index, scores = material.index, material.results.images
    ranks = sorted({*chosen, *others})
    return {
        "classes": [{"name": label.name, "rgb": label.rgb} for label in index.classes],
        "void": index.void.rgb if index.void else drawing.UNNAMED_VOID,
        "total": len(order),
        "images": [
            {
                "rank": rank + 1,
                "kind": chosen.get(rank, ""),
                "name": scores[order[rank]].stem,
                "group": scores[order[rank]].group,
                "miou": percent(scores[order[rank]].miou),
                "accuracy": percent(scores[order[rank]].accuracy),
                **(payloads.get(rank) or _payload(material.views(order[rank]))),
            }
            for rank in ranks
        ],
    }


def _payload(views: whole_images.Views) -> dict[str, Any]:
    return {
        "whole": _view(views.whole),
        "closeup": _view(views.closeup) if views.closeup else None,
        "outline": views.outline,
    }


def _characters(payload: dict[str, Any]) -> int:
    return sum(len(view["photo"]) + len(view["labels"]) for view in (payload["whole"], payload["closeup"]) if view)


def _view(view: whole_images.View) -> dict[str, Any]:
    """The photograph, and truth followed by prediction, deflated: a browser may alter the pixels of a decoded image."""
    height, width = view.truth.shape
    return {
        "photo": data_uri(drawing.jpeg(view.image), "image/jpeg"),
        "labels": base64.b64encode(zlib.compress(view.truth.tobytes() + view.prediction.tobytes(), 9)).decode(),
        "height": height,
        "width": width,
        "top": view.top,
        "left": view.left,
        "step": view.step,
    }
