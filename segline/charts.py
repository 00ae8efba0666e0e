"""Numbers and panels -> PNG files. The bytes hold no date and depend on no setting, font or display of the user."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segline import dataset, drawing, results
from segline.notation import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, GRID = "#1f2430", "#6b7280", "#e5e7eb"
BLUE, ORANGE = "#2563eb", "#ea580c"
DPI = 120
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#9ca3af",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.dpi": DPI,
    "font.size": 10,
    "grid.color": GRID,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "savefig.dpi": DPI,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}
Curve = tuple[str, list[float]]
Text = tuple[int, int, str, str]  # left, middle, what it says, weight
Legend = Sequence[tuple[str, tuple[int, int, int]]]
NAME_LENGTH = 22
GAP, LINE, ENTRY = 10, 26, 175  # pixels: between panels, a line of text, an entry of the legend
TILES = 6  # in a row of the augmented samples
FRAME = (107, 114, 128)
READABLE = 40  # classes whose cells and bars have room for a name and a number


@contextmanager
def _figure(path: Path, width: float, height: float, layout: Any = "constrained") -> "Iterator[Figure]":
    from matplotlib import style  # noqa: PLC0415 - half a second, for this stage alone
    from matplotlib.figure import Figure  # noqa: PLC0415

    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a name in a script that the bundled font lacks
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure
        figure.savefig(path, format="png", metadata={"Software": None})


def short(name: str) -> str:
    """The name on one line, cut to `NAME_LENGTH` characters."""
    name = " ".join(name.split())
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 3] + "..."


def loss(path: Path, history: Sequence[results.Epoch], kept: int) -> None:
    """Training and validation loss by epoch, the epoch that was kept marked."""
    curves = {
        "training": (BLUE, [epoch.train_loss for epoch in history]),
        "validation": (ORANGE, [epoch.val_loss for epoch in history]),
    }
    _curves(path, "Loss by epoch", history, kept, curves)


def accuracy(path: Path, history: Sequence[results.Epoch], kept: int) -> None:
    """Pixel accuracy and mIoU on the validation split by epoch, in percent, the epoch that was kept marked."""
    curves = {
        "pixel accuracy": (BLUE, [100 * epoch.val_accuracy for epoch in history]),
        "mIoU": (ORANGE, [100 * epoch.val_miou for epoch in history]),
    }
    _curves(path, "Validation scores by epoch (%)", history, kept, curves)


def _curves(path: Path, title: str, history: Sequence[results.Epoch], kept: int, curves: dict[str, Curve]) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    epochs = [epoch.epoch for epoch in history]
    with _figure(path, 7, 3.8) as figure:
        axes = figure.subplots()
        for name, (colour, values) in curves.items():
            axes.plot(epochs, values, color=colour, marker="o", markersize=3.5, label=name)
            for epoch, value in zip(epochs, values, strict=True):
                if epoch == kept:
                    axes.plot([epoch], [value], "o", color=colour, markersize=8, markeredgecolor="white")
        axes.axvline(kept, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1, label=f"epoch kept: {kept}")
        axes.set_title(title, pad=26)
        axes.set_xlabel("epoch")
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(loc="lower left", bbox_to_anchor=(-0.015, 0.99), ncols=3, borderaxespad=0)


def confusion(path: Path, names: Sequence[str], counts: npt.NDArray[np.int64]) -> None:
    """Where the pixels of each class went, in percent of its row; a class without truth pixels has a grey row.

    That of more than `READABLE` classes is no larger, and shows shares by colour alone.
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.ma.masked_array(100 * counts / np.maximum(totals, 1), np.broadcast_to(totals == 0, counts.shape))
    side = 0.52 * min(len(names), READABLE)
    ticks = _ticks(len(names))
    labels = [short(names[place]) for place in ticks]
    with _figure(path, max(5.6, side + 2.2), max(4.2, side + 1.8)) as figure:
        axes = figure.subplots()
        axes.grid(visible=False)
        axes.set_facecolor(GRID)
        axes.spines[:].set_visible(False)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        axes.set_xticks(ticks, labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, labels)
        axes.tick_params(length=0, labelcolor=INK)
        axes.set(xlabel="predicted", ylabel="truth")
        axes.set_title(f"Confusion: percent of each true class\n{counts.sum():,} pixels scored", fontsize=11)
        if len(names) > READABLE:
            return
        for (row, column), share in np.ndenumerate(shares.filled(-1)):
            colour = "white" if share > 50 else FAINT if share < 1 else INK
            axes.text(column, row, _cell(share), ha="center", va="center", fontsize=8, color=colour)


def _ticks(count: int) -> range:
    """The places of the classes that are named: all, or where that is too many every second, third, ... one."""
    return range(0, count, -(-count // READABLE))


def _cell(share: float) -> str:
    if share <= 0:
        return "0" if share == 0 else "-"
    return f"{share:.1f}" if share < 9.95 else f"{share:.0f}"  # from 9.95 on, .1f would write four characters


def iou(path: Path, classes: Sequence[dataset.Label], scores: Sequence[results.ClassScore], mean: float | None) -> None:
    """The IoU of each class as a bar in its colour, and their mean as a line; undefined ones say so.

    That of more than `READABLE` classes is no higher, and has bars alone: an undefined score leaves its place empty.
    """
    ticks = _ticks(len(classes))
    with _figure(path, 7, 1.3 + 0.34 * min(len(classes), READABLE)) as figure:
        axes = figure.subplots()
        axes.grid(visible=False, axis="y")
        for place, (label, score) in enumerate(zip(classes, scores, strict=True)):
            length, colour = 100 * (score.iou or 0), tuple(channel / 255 for channel in label.rgb)
            axes.barh(place, length, height=0.66, color=colour, edgecolor=INK, linewidth=0.6)
            text, ink = ("undefined", FAINT) if score.iou is None else (f"{length:.1f}", INK)
            if len(classes) <= READABLE:
                axes.text(length + 1, place, text, va="center", fontsize=9, color=ink)
        if mean is not None:
            axes.axvline(100 * mean, color=ORANGE, linewidth=1.5, linestyle=(0, (4, 3)), zorder=0.9)
        axes.set_yticks(ticks, [short(classes[place].name) for place in ticks])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set(xlim=(0, 109), xticks=range(0, 101, 20), ylim=(len(classes) - 0.4, -0.6), xlabel="IoU (%)")
        axes.set_title(f"IoU by class; mean {percent(mean)} (dashed)")


def sheet(path: Path, rows: Sequence[tuple[str, drawing.Panels]], legend: Legend) -> None:
    """One row a picture, with its caption: image | truth | prediction | error; the colours of the classes below."""
    high, wide, _ = rows[0][1].image.shape
    width = max(4 * wide + 5 * GAP, 4 * 160)
    body = np.full((LINE + len(rows) * (LINE + high + GAP), width, 3), 255, np.uint8)
    lefts = [GAP + column * (width - GAP) // 4 for column in range(4)]
    texts = [(left, LINE // 2, kind, "bold") for left, kind in zip(lefts, drawing.Panels._fields, strict=True)]
    for place, (caption, panels) in enumerate(rows):
        top = LINE + place * (LINE + high + GAP)
        texts.append((GAP, top + LINE // 2, caption, "normal"))
        for left, panel in zip(lefts, panels, strict=True):
            body[top + LINE : top + LINE + high, left : left + wide] = panel
    _page(path, body, texts, legend)


def augmented(path: Path, pairs: Sequence[tuple[drawing.Uint8, drawing.Uint8]], legend: Legend) -> None:
    """Pictures, each over its mask, `TILES` in a row; the colours of the classes below."""
    high, wide, _ = pairs[0][0].shape
    step = 2 * high + 2 * GAP
    width = max(TILES * (wide + GAP) + GAP, 4 * 160)
    body = np.full((LINE + -(-len(pairs) // TILES) * step, width, 3), 255, np.uint8)
    for place, tile in enumerate(pairs):
        top, left = LINE + place // TILES * step, GAP + place % TILES * (wide + GAP)
        body[top : top + 2 * high, left : left + wide] = np.concatenate(tile)
    _page(path, body, [(GAP, LINE // 2, "train samples as epoch 1 showed them, each over its mask", "bold")], legend)


def _page(path: Path, body: drawing.Uint8, texts: list[Text], legend: Legend) -> None:
    """The body with its texts, and the legend below it."""
    end, width, _ = body.shape
    columns = max(1, (width - 2 * GAP) // ENTRY)
    height = end + GAP + LINE * -(-len(legend) // columns) + GAP
    canvas = np.full((height, width, 3), 255, np.uint8)
    canvas[:end] = body
    for place, (name, colour) in enumerate(legend):
        left, top = GAP + place % columns * ENTRY, end + GAP + place // columns * LINE
        canvas[top + 5 : top + LINE - 5, left : left + LINE - 8] = FRAME
        canvas[top + 6 : top + LINE - 6, left + 1 : left + LINE - 9] = colour
        texts = [*texts, (left + LINE, top + LINE // 2, short(name), "normal")]
    # The half pixels: matplotlib cuts the size to an integer.
    with _figure(path, (width + 0.5) / DPI, (height + 0.5) / DPI, layout=None) as figure:
        figure.figimage(canvas)  # pixel for pixel, where axes would resample
        for x, y, text, weight in texts:
            figure.text(x / width, 1 - y / height, text, va="center_baseline", fontsize=8.5, weight=weight)
