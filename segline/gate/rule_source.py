"""Whose rules decide: the base's gate.yaml and noise file, or the branch's own if the base has none.

A branch with its own margins, or its own seed noise, could turn red into green. Its rules are read all the same, since
they decide once they are merged: broken ones are refused before that.
"""

from dataclasses import dataclass
from pathlib import Path

from segline.gate import saved_metrics
from segline.gate.pairing import Pair, require_equal
from segline.gate.rules import (
    FILE,
    MEASURE,
    Criterion,
    Rules,
    SeedNoise,
    criteria,
    parse_noise,
    parse_rules,
    read_rules,
)


@dataclass(frozen=True)
class Effective:
    """The rules that decide. `noise_file` is their path of the seed noise, on either side; `strict` says that an
    inconclusive result fails.

    `own` names the branch's files that decide; `changed` those that differ from the base's, which decides.
    """

    criteria: list[Criterion]
    noise: SeedNoise | None
    noise_file: str
    own: list[str]
    changed: list[str]
    strict: bool


def effective(pair: Pair, root: Path, *, noise: bool = True) -> Effective:
    """The rules by which the working tree at `root` is judged against its base, with the seed noise they name or not.

    Raises PipelineError if rules or noise of a side are broken, or name something that was not evaluated.
    """
    own, theirs = read_rules(root / FILE), _rules_of_base(pair, root)
    claims = criteria(own, pair.images_by_class, pair.images_with_objects, FILE, calibrated=pair.calibrated)
    if theirs:
        place = _place(pair, FILE)
        claims = criteria(theirs, pair.images_by_class, pair.images_with_objects, place, calibrated=pair.calibrated)
    rules = theirs or own
    path = Path(rules.noise)
    own_noise, base_noise = (each(pair, path, root) if noise else None for each in (_own_noise, _noise_of_base))
    sides = {str(FILE): (own, theirs), rules.noise: (own_noise, base_noise)}
    return Effective(
        claims,
        base_noise or own_noise,
        rules.noise,
        [name for name, (ours, base) in sides.items() if ours and not base],
        [name for name, (ours, base) in sides.items() if base and ours != base],
        rules.inconclusive == "fail",
    )


def of_working_tree(pair: Pair, root: Path) -> Effective:
    """The rules at `root` alone, by which two sides from elsewhere are judged. Raises as `effective`."""
    rules = read_rules(root / FILE)
    noise = _own_noise(pair, Path(rules.noise), root)
    claims = criteria(rules, pair.images_by_class, pair.images_with_objects, FILE, calibrated=pair.calibrated)
    return Effective(claims, noise, rules.noise, [], [], rules.inconclusive == "fail")


def _rules_of_base(pair: Pair, root: Path) -> Rules | None:
    content = saved_metrics.beside(pair.base.label, pair.base.commit, FILE, root)
    return None if content is None else parse_rules(content, _place(pair, FILE))


def _own_noise(pair: Pair, path: Path, root: Path) -> SeedNoise | None:
    """The branch's own noise; None if it is of other data, as that of an example is where users have brought their own.

    Raises DataError if it was measured on these data in another way.
    """
    if not (root / path).exists():
        return None
    noise = parse_noise((root / path).read_bytes(), path)
    if noise.protocol.get("data") != pair.protocol["data"]:
        return None
    require_equal(f"{path} and this evaluation", noise.protocol, pair.protocol, MEASURE)
    return noise


def _noise_of_base(pair: Pair, path: Path, root: Path) -> SeedNoise | None:
    """The base's noise; None if it was measured with another protocol, which says nothing here."""
    content = saved_metrics.beside(pair.base.label, pair.base.commit, path, root)
    noise = None if content is None else parse_noise(content, _place(pair, path))
    return noise if noise and noise.protocol == pair.protocol else None


def _place(pair: Pair, path: Path) -> str:
    """What messages call a file of the base."""
    return f"{pair.base.label}/{path.name}" if pair.base.commit is None else f"{pair.base.label}:{path.as_posix()}"
