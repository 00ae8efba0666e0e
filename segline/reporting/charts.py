"""Numbers -> PNG files. The bytes contain no date and depend on no setting, font or display of the user."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segline.dataset import raw
from segline.dataset.history import Epoch
from segline.reporting import results
from segline.reporting.formatting import percent

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
    "text.parse_math": False,  # a class may be named $x$
    "xtick.color": FAINT,
    "ytick.color": FAINT,
}
Curve = tuple[str, list[float]]
NAME_LENGTH = 22
READABLE = 40  # with more classes, cells and bars are too small for a name and a number


@contextmanager
def figure(path: Path, width: float, height: float, layout: Any = "constrained") -> "Iterator[Figure]":
    """An empty figure of `width` x `height` inches in our style, written to `path` at `DPI` when the block ends."""
    from matplotlib import style  # noqa: PLC0415 - takes half a second
    from matplotlib.figure import Figure  # noqa: PLC0415

    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a name in a script missing from the bundled font
        drawn = Figure(figsize=(width, height), layout=layout)
        yield drawn
        drawn.savefig(path, format="png", metadata={"Software": None})


def short(name: str) -> str:
    """The name on one line, cut to `NAME_LENGTH` characters."""
    name = " ".join(name.split())
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 3] + "..."


def loss(path: Path, history: Sequence[Epoch], kept: int) -> None:
    """Training and validation loss by epoch, with a mark at the epoch that was kept."""
    curves = {
        "training": (BLUE, [epoch.train_loss for epoch in history]),
        "validation": (ORANGE, [epoch.val_loss for epoch in history]),
    }
    _curves(path, "Loss by epoch", history, kept, curves)


def accuracy(path: Path, history: Sequence[Epoch], kept: int) -> None:
    """Pixel accuracy and mIoU on val by epoch, in percent, with a mark at the epoch that was kept."""
    curves = {
        "pixel accuracy": (BLUE, [100 * epoch.val_accuracy for epoch in history]),
        "mIoU": (ORANGE, [100 * epoch.val_miou for epoch in history]),
    }
    _curves(path, "Validation scores by epoch (%)", history, kept, curves)


def _curves(path: Path, title: str, history: Sequence[Epoch], kept: int, curves: dict[str, Curve]) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    epochs = [epoch.epoch for epoch in history]
    with figure(path, 7, 3.8) as page:
        axes = page.subplots()
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
    """How the pixels of each true class were classified, in percent; a class without truth pixels has a grey row.

    Beyond `READABLE` classes the chart stops growing and shows shares by colour alone.
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.ma.masked_array(100 * counts / np.maximum(totals, 1), np.broadcast_to(totals == 0, counts.shape))
    side = 0.52 * min(len(names), READABLE)
    ticks = _ticks(len(names))
    labels = [short(names[place]) for place in ticks]
    with figure(path, max(5.6, side + 2.2), max(4.2, side + 1.8)) as page:
        axes = page.subplots()
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
    """The positions of the classes that are named: all, or every second, third, ... one if there are too many."""
    return range(0, count, -(-count // READABLE))


def _cell(share: float) -> str:
    if share <= 0:
        return "0" if share == 0 else "-"
    return f"{share:.1f}" if share < 9.95 else f"{share:.0f}"  # from 9.95 on, .1f would write four characters


def iou(path: Path, classes: Sequence[raw.Label], scores: Sequence[results.ClassScore], mean: float | None) -> None:
    """The IoU of each class as a bar in its colour, labelled if undefined, and the mean as a line.

    Beyond `READABLE` classes the chart stops growing and has bars without numbers; an undefined score has no bar.
    """
    ticks = _ticks(len(classes))
    with figure(path, 7, 1.3 + 0.34 * min(len(classes), READABLE)) as page:
        axes = page.subplots()
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


def reliability(path: Path, calibration: results.Calibration, error: float | None) -> None:
    """The accuracy of the pixels of each confidence bin against their mean confidence, and how many these are.

    Points on the dashed line are as right as they are sure. Source: Guo et al. 2017, fig. 1.
    """
    count, total = len(calibration.bins), max(1, sum(each.pixels for each in calibration.bins))
    centres = [100 * (place + 0.5) / count for place in range(count)]
    points = [
        (100 * each.confidence, 100 * each.accuracy)
        for each in calibration.bins
        if each.confidence is not None and each.accuracy is not None
    ]
    with figure(path, 5.6, 5.6) as page:
        upper, lower = page.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.plot([0, 100], [0, 100], color=FAINT, linewidth=1.5, linestyle=(0, (4, 3)))
        upper.plot(*zip(*points, strict=True), color=BLUE, marker="o", markersize=5)
        upper.set(xlim=(0, 100), ylim=(0, 100), ylabel="accuracy (%)")
        upper.set_title(f"Reliability: ECE {percent(error)} at temperature {calibration.temperature:g}")
        lower.bar(centres, [100 * each.pixels / total for each in calibration.bins], width=92 / count, color=BLUE)
        lower.set(ylim=(0, 100), xlabel="confidence (%)", ylabel="pixels (%)")
