"""Results and pictures -> one self-contained HTML page."""

import base64
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined

from segline.core import params
from segline.dataset import onehot, processed
from segline.reporting import drawing, formatting, results, selection
from segline.reporting.formatting import percent

TEMPLATE, CODE = "report.html", "report.js"
VIEWER_BYTES = 2_000_000


@dataclass(frozen=True)
class Material:
    """What the page shows. `predictions` are class indices uint8 (N, H, W)."""

    split: processed.Split
    predictions: npt.NDArray[np.uint8]
    results: results.Results
    parameters: params.Document

    def truth(self, row: int) -> npt.NDArray[np.uint8]:
        """Class indices uint8 (H, W) of one image."""
        return onehot.unpack(self.split.onehot[row], len(self.split.index.classes))

    def panels(self, row: int) -> drawing.Panels:
        """The four pictures of one image."""
        colours = drawing.palette(self.split.index.classes, self.split.index.void)
        return drawing.panels(self.split.images[row], self.truth(row), self.predictions[row], colours)


def render(
    material: Material, picks: Sequence[selection.Pick], panels: Sequence[drawing.Panels], curves: Mapping[str, bytes]
) -> str:
    """The page: it requests nothing, equal inputs give equal text, and every name in it is escaped.

    `panels` belong to `picks`, in the same order; `curves` maps titles to the bytes of PNG files.
    """
    environment = Environment(
        loader=PackageLoader("segline", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "compact": formatting.compact}
    code = environment.get_template(CODE).render()
    evaluation = material.results.evaluation
    return environment.get_template(TEMPLATE).render(
        index=material.split.index,
        evaluation=evaluation,
        network=params.text(material.parameters, "model.name"),
        names=[label.name for label in material.split.index.classes],
        scores=formatting.SCORES,
        costs=formatting.COSTS,
        few=material.results.few,
        absent=material.results.absent,
        only=material.results.only_prediction,
        classes=list(zip(material.split.index.classes, material.results.classes, strict=True)),
        pixels=int(material.results.confusion.sum()),
        confusion=_shares(material.results.confusion),
        gallery=list(_gallery(material, picks, panels)),
        jumps={pick.kind: pick.rank for pick in selection.one_a_kind(picks)},
        viewer=_viewer(material, picks),
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


def _gallery(
    material: Material, picks: Sequence[selection.Pick], panels: Sequence[drawing.Panels]
) -> Iterator[dict[str, Any]]:
    for pick, four in zip(picks, panels, strict=True):
        image, error = (data_uri(drawing.jpeg(panel), "image/jpeg") for panel in (four.image, four.error))
        truth, prediction = (data_uri(drawing.png(panel), "image/png") for panel in (four.truth, four.prediction))
        yield {
            "pick": pick,
            "score": material.results.images[pick.row],
            "panels": {"image": image, "truth": truth, "prediction": prediction, "error": error},
        }


def _viewer(material: Material, picks: Sequence[selection.Pick]) -> dict[str, Any]:
    """The data that report.js reads: every picked image, and as many of the others as fit in `VIEWER_BYTES`."""
    order = selection.order(material.results.images)
    chosen = {pick.rank - 1: pick.kind for pick in picks}
    payloads = {rank: _payload(material, order[rank]) for rank in chosen}
    largest = max(sum(len(part) for part in payload.values()) for payload in payloads.values())
    others = np.linspace(0, len(order) - 1, min(len(order), VIEWER_BYTES // largest)).round().astype(int).tolist()
    index, scores = material.split.index, material.results.images
    ranks = sorted({*chosen, *others})
    return {
        "classes": [{"name": label.name, "rgb": label.rgb} for label in index.classes],
        "void": index.void.rgb if index.void else drawing.UNNAMED_VOID,
        "height": material.predictions.shape[1],
        "width": material.predictions.shape[2],
        "total": len(order),
        "images": [
            {
                "rank": rank + 1,
                "kind": chosen.get(rank, ""),
                "name": scores[order[rank]].stem,
                "group": scores[order[rank]].group,
                "miou": percent(scores[order[rank]].miou),
                "accuracy": percent(scores[order[rank]].accuracy),
                **(payloads.get(rank) or _payload(material, order[rank])),
            }
            for rank in ranks
        ],
    }


def _payload(material: Material, row: int) -> dict[str, str]:
    """The photograph, and truth followed by prediction, deflated: a browser may alter the pixels of a decoded image."""
    labels = material.truth(row).tobytes() + material.predictions[row].tobytes()
    return {
        "photo": data_uri(drawing.jpeg(drawing.rgb(material.split.images[row])), "image/jpeg"),
        "labels": base64.b64encode(zlib.compress(labels, 9)).decode(),
    }
