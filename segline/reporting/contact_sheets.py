"""Contact sheets as PNG files: panels side by side with captions, above a legend of the classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segline.dataset import processed
from segline.reporting import charts, drawing, results, selection
from segline.reporting.formatting import percent

Text = tuple[int, int, str, str]  # left edge, vertical centre, content, font weight
Legend = Sequence[tuple[str, tuple[int, int, int]]]
GAP, LINE, ENTRY = 10, 26, 175  # pixels: gap between panels, height of a line of text, width of a legend entry
ACROSS = 6  # augmented samples per row
FRAME = (107, 114, 128)


def legend(index: processed.Index, *, padded: bool = False) -> Legend:
    """Name and colour of each class, and of what is not scored; `padded`: borders of images are shown, too."""
    void = unscored(index) or ("border" if padded and index.preparation.fit != "stretch" else None)
    colour = index.void.rgb if index.void else drawing.UNNAMED_VOID
    return [*((label.name, label.rgb) for label in index.classes), *([(f"{void}, not scored", colour)] if void else [])]


def unscored(index: processed.Index) -> str | None:
    """What the pixels of no class are: void, if that is not a class itself, or no data."""
    if index.void and not index.void_is_class:
        return "void"
    return "no data" if any(origin.no_data for origin in index.origins) else None


def caption(pick: selection.Pick, images: Sequence[results.ImageScore]) -> str:
    """Why the image was picked, its name and its scores."""
    score = images[pick.image]
    scores = f"mIoU {percent(score.miou)}, accuracy {percent(score.accuracy)}"
    return f"{pick.kind}, rank {pick.rank} of {len(images)}: {charts.short(score.stem)}, {scores}"


def sheet(path: Path, rows: Sequence[tuple[str, drawing.Panels]], names: Legend, note: str | None = None) -> None:
    """Under its caption, each row: image | truth | prediction | error; below, the legend of the classes and a note."""
    wide = max(panels.image.shape[1] for _, panels in rows)
    width = max(4 * wide + 5 * GAP, 4 * 160)
    body = np.full((LINE + sum(LINE + panels.image.shape[0] + GAP for _, panels in rows), width, 3), 255, np.uint8)
    lefts = [GAP + column * (width - GAP) // 4 for column in range(4)]
    texts = [(left, LINE // 2, kind, "bold") for left, kind in zip(lefts, drawing.Panels._fields, strict=True)]
    top = LINE
    for title, panels in rows:
        texts.append((GAP, top + LINE // 2, title, "normal"))
        high, across, _ = panels.image.shape
        for left, panel in zip(lefts, panels, strict=True):
            body[top + LINE : top + LINE + high, left : left + across] = panel
        top += LINE + high + GAP
    _page(path, body, texts, names, note)


def augmented(
    path: Path, pairs: Sequence[tuple[drawing.Uint8, drawing.Uint8]], names: Legend, note: str | None = None
) -> None:
    """Pictures, each above its mask, `ACROSS` in a row; the legend of the classes at the end, and a note."""
    high, wide, _ = pairs[0][0].shape
    step = 2 * high + 2 * GAP
    width = max(ACROSS * (wide + GAP) + GAP, 4 * 160)
    body = np.full((LINE + -(-len(pairs) // ACROSS) * step, width, 3), 255, np.uint8)
    for number, pair in enumerate(pairs):
        top, left = LINE + number // ACROSS * step, GAP + number % ACROSS * (wide + GAP)
        body[top : top + 2 * high, left : left + wide] = np.concatenate(pair)
    title = "train samples as epoch 1 showed them, each over its mask"
    _page(path, body, [(GAP, LINE // 2, title, "bold")], names, note)


def _page(path: Path, body: drawing.Uint8, texts: list[Text], names: Legend, note: str | None) -> None:
    """Writes the body with its texts, and below it the legend and the note."""
    end, width, _ = body.shape
    columns = max(1, (width - 2 * GAP) // ENTRY)
    lines = -(-len(names) // columns)
    height = end + GAP + LINE * (lines + (note is not None)) + GAP
    canvas = np.full((height, width, 3), 255, np.uint8)
    canvas[:end] = body
    if note is not None:
        texts = [*texts, (GAP, end + GAP + lines * LINE + LINE // 2, note, "normal")]
    for entry, (name, colour) in enumerate(names):
        left, top = GAP + entry % columns * ENTRY, end + GAP + entry // columns * LINE
        canvas[top + 5 : top + LINE - 5, left : left + LINE - 8] = FRAME
        canvas[top + 6 : top + LINE - 6, left + 1 : left + LINE - 9] = colour
        texts = [*texts, (left + LINE, top + LINE // 2, charts.short(name), "normal")]
    # Half a pixel more: matplotlib truncates the size to an integer.
    with charts.figure(path, (width + 0.5) / charts.DPI, (height + 0.5) / charts.DPI, layout=None) as page:
        page.figimage(canvas)  # pixel for pixel; axes would resample
        for x, y, text, weight in texts:
            page.text(x / width, 1 - y / height, text, va="center_baseline", fontsize=8.5, weight=weight)
