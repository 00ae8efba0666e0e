"""Whose rules decide: the base's gate.yaml and noise file, and the branch's own only where the base has none.

A branch that brought its own margins, or its own spread over seeds, could turn red into green. What it brings is read
all the same, since it decides once it is on the base: broken rules are refused before they get there.
"""

from dataclasses import dataclass
from pathlib import Path

from segline.gate import baseline
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
class Authority:
    """What decides. `noise_file` is where its rules look for the seed noise, on either side.

    `own` names the files of the branch that decide, `changed` those that differ from the base's and do not.
    """

    claims: list[Criterion]
    noise: SeedNoise | None
    noise_file: str
    own: list[str]
    changed: list[str]


def find(pair: Pair, root: Path) -> Authority:
    """What decides between the working tree at `root` and its base.

    Raises PipelineError if rules or noise of a side are broken, or name what was not evaluated.
    """
    own, theirs = read_rules(root / FILE), _rules_of_base(pair, root)
    claims = criteria(own, pair.holding, FILE)
    if theirs:
        claims = criteria(theirs, pair.holding, _place(pair, FILE))
    rules = theirs or own
    path = Path(rules.noise)
    measured, known = _noise(pair, path, root), _noise_of_base(pair, path, root)
    sides = {str(FILE): (own, theirs), rules.noise: (measured, known)}
    return Authority(
        claims,
        known or measured,
        rules.noise,
        [name for name, (one, other) in sides.items() if one and not other],
        [name for name, (one, other) in sides.items() if other and one != other],
    )


def _rules_of_base(pair: Pair, root: Path) -> Rules | None:
    content = baseline.beside(pair.base.label, pair.base.commit, FILE, root)
    return None if content is None else parse_rules(content, _place(pair, FILE))


def _noise(pair: Pair, path: Path, root: Path) -> SeedNoise | None:
    """The noise that the branch brings. Raises DataError if it is of another protocol."""
    if not (root / path).exists():
        return None
    noise = parse_noise((root / path).read_bytes(), path)
    require_equal(f"{path} and this evaluation", noise.protocol, pair.protocol, MEASURE)
    return noise


def _noise_of_base(pair: Pair, path: Path, root: Path) -> SeedNoise | None:
    """The noise that the base has of this protocol: one of another says nothing here."""
    content = baseline.beside(pair.base.label, pair.base.commit, path, root)
    noise = None if content is None else parse_noise(content, _place(pair, path))
    return noise if noise and noise.protocol == pair.protocol else None


def _place(pair: Pair, path: Path) -> str:
    """What messages call a file of the base."""
    return f"{pair.base.label}/{path.name}" if pair.base.commit is None else f"{pair.base.label}:{path.as_posix()}"
