"""The results of a run -> a model card in Markdown. Its fields follow Mitchell et al. 2019 and Hugging Face's cards.

Everything in it is computed or read from parameters; it contains no date, host or run.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from segline.core import params
from segline.dataset import processed
from segline.reporting import formatting, object_results, preparation_facts, results

TEMPLATE = "model_card.md"
DRAWN = {"synthetic": "real streets", "aerial": "real aerial images", "cells": "real cells"}  # sources
WEAK = 0.1  # a class with a lower IoU is called hardly recognised
# Characters that Markdown may read as markup; an underscore only at the edge of a word.
_SPECIAL = re.compile(r"[\\`*{}\[\]<>#|~&$]|(?<![^\W_])_|_(?![^\W_])")


@dataclass(frozen=True)
class Subject:
    """What the card describes: the model file, its results, the split scored, the epoch kept and the parameters."""

    model: Path
    split: processed.Split
    results: results.Results
    kept: int
    parameters: params.Document


def render(subject: Subject) -> str:
    """The card: equal inputs give equal text, and no name in it can become markup."""
    environment = Environment(
        loader=PackageLoader("segline", "reporting"),
        autoescape=False,  # noqa: S701 - it is Markdown, and `finalize` escapes that
        finalize=plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["percent"] = formatting.percent
    scores, index = subject.results, object_results.scored(subject.split.index)
    leaves = params.flat(subject.parameters)
    return environment.get_template(TEMPLATE).render(
        model=subject.model.as_posix(),
        sha256=hashlib.sha256(subject.model.read_bytes()).hexdigest(),
        network=params.text(subject.parameters, "model.name"),
        source=params.text(subject.parameters, "data.source"),
        drawn=DRAWN,
        keep=params.text(subject.parameters, "train.keep"),
        kept=subject.kept,
        epochs=len(scores.history),
        index=index,
        groups=len({origin.group for origin in index.origins} - {None}),
        count=len(index.origins),
        no_data=any(origin.no_data for origin in index.origins),
        tiled=index.preparation.fit == "tile",
        preparation=preparation_facts.facts(index.preparation),
        bands=preparation_facts.shown(index.preparation),
        seam=formatting.SEAM,
        evaluation=scores.evaluation,
        few=scores.few,
        scored=[score for score in scores.classes if score.pixels],
        absent=scores.absent,
        only=scores.only_prediction,
        weak=[score for score in scores.classes if score.pixels and score.iou is not None and score.iou < WEAK],
        threshold=WEAK,
        scores=formatting.SCORES,
        costs=formatting.costs(index.preparation),
        protocol=formatting.PROTOCOL,
        parameters={key: formatting.written(value) for key, value in leaves.items()},
    )


def plain(value: Any) -> str:
    """The value on one line, with everything escaped that Markdown would read as markup."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(str(value).split()))
