"""How small a loss can be found at a known seed noise, and how many seeds a side a margin needs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import special

from segline.core import params, records, untrusted
from segline.core.errors import PipelineError
from segline.gate import decision, rules, saved_metrics, series
from segline.gate.bootstrap import Noise
from segline.gate.rules import Criterion, SeedNoise

MOST = 20  # seeds that are thought of


def of_seeds(noise: Noise, criteria: int, pairs: int) -> float:
    """The smallest loss that so many pairs can show, one of so many criteria, if images leave no doubt at all.

    `noise` is that of one pair's difference.
    """
    if pairs == 1:
        return noise.half_width(decision.LEVEL / criteria)
    level = series.plan(noise.seeds, pairs).level(series.ERROR / criteria, pairs)
    return _half(noise, level, pairs)


def _half(noise: Noise, level: float, pairs: int) -> float:
    freedom = noise.seeds - 1 + 2 * (pairs - 1)
    return float(noise.deviation * special.stdtrit(freedom, 1 - level) / np.sqrt(pairs))


def pairs_for(noise: Noise, criteria: int, loss: float) -> int | None:
    """The smallest number of pairs that can show this loss; None if it is above `MOST`."""
    share = series.ERROR / criteria
    for pairs in range(series.FEWEST, MOST + 1):
        # Without earlier looks even fewer would do: a bound that is quickly computed.
        if _half(noise, share, pairs) <= loss and of_seeds(noise, criteria, pairs) <= loss:
            return pairs
    return None


def doubt(criteria: Sequence[Criterion], noise: SeedNoise, path: Path, pairs: int) -> str | None:
    """A sentence that names the margins which so many pairs cannot show, and how many would; None if there is none."""
    parts, needed = [], []
    for criterion in criteria:
        if criterion.floor is None:
            known = rules.of_criterion(noise, criterion, path)
            if (smallest := of_seeds(known, len(criteria), pairs)) > criterion.margin:
                parts.append(f"{criterion.metric} below {smallest:.4f} (margin {criterion.margin:g})")
                needed.append(pairs_for(known, len(criteria), criterion.margin))
    if not parts:
        return None
    most = max((each for each in needed if each is not None), default=None)
    remedy = f"more than {MOST}" if most is None or None in needed else str(most)
    runs = "One run" if pairs == 1 else f"{pairs} seeds"
    return (
        f"{runs} a side cannot show a loss of {' or of '.join(parts)}, at the seed noise of {path}; "
        f"`segline gate --seeds N` can with N = {remedy}."
    )


def doubts(root: Path) -> list[str]:
    """At most one sentence, on margins of gate.yaml that one run a side cannot show.

    None if a file is not usable, or the noise is of other data than the last evaluation or than params.yaml names.
    """
    try:
        known = rules.read_rules(root / rules.FILE)
        path = Path(known.noise)
        noise = rules.parse_noise(untrusted.read(root / path, params.MAX_BYTES), path)
        evaluated = root / saved_metrics.evaluation()
        if evaluated.exists() and records.read_json(evaluated)["protocol"]["data"] != noise.protocol["data"]:
            return []
        if _names_other_data(root):
            return []
        criteria = [Criterion(metric, margin) for metric, margin in known.margins.items()]
        criteria += [Criterion(name, 0.0, floor) for name, floor in known.floors.items()]
        sentence = doubt(criteria, noise, path, 1)
    except (OSError, PipelineError, KeyError, TypeError):  # the gate says what is wrong with them
        return []
    return [f"{rules.FILE}: {sentence[0].lower()}{sentence[1:].removesuffix('.')}"] if sentence else []


def _names_other_data(root: Path) -> bool:
    """Whether params.yaml names other data than dvc.lock records: the last evaluation is of those, as of the example's
    when a user has just named a folder."""
    download = saved_metrics.locked_stages(root).get("download")
    recorded = download.parameters.get(str(params.FILE), {}) if download else {}
    document = params.load(root / params.FILE) if recorded else {}
    return any(params.find(document, key) != value for key, value in recorded.items())
