"""Both sides are trained from the same seeds, a pair of runs more at each look, until the verdict is certain.

The gate's own seeds come after those of the base and of its noise file: a seed may have been chosen for its score, and
what noise.json measured must not be counted twice.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from segline.core.errors import ParameterError
from segline.gate import decision, judgement, kept_runs, messages, pairing, reach, recipes, saved_metrics, series
from segline.gate.decision import Finding, Verdict
from segline.gate.judgement import Judgement, Opening
from segline.gate.pairing import Pair
from segline.gate.recipes import Recipe
from segline.gate.rules import SeedNoise
from segline.gate.saved_metrics import Saved
from segline.monitoring import console
from segline.reproducibility import trainings
from segline.reproducibility.trainings import Training

OUTPUT, ERRORS = 1, 2  # file descriptors


def judge(base: str, root: Path, budget: int) -> Judgement:
    """Judges the working tree at `root` against a revision, from at most `budget` seeds a side.

    Trains what is not kept from earlier gates, in copies of the projects. Raises PipelineError if that is impossible.
    """
    if budget < series.FEWEST:
        problem = f"expected at least {series.FEWEST}, got {budget}"
        raise ParameterError("--seeds", problem, "Leave it out to compare one run of each side.")
    opened = judgement.opening(base, root)
    commit = opened.pair.base.commit
    if commit is None:
        problem = "a folder of saved metrics, which cannot be trained again"
        raise ParameterError(f"--base {base}", problem, "Name a revision, such as origin/main, or leave --seeds out.")
    noise = opened.rules.noise if opened.described else None
    plan = series.plan(len(noise.seeds) if noise else 0, budget)
    if plan.first > budget:
        problem = f"expected at least {plan.first}, got {budget}, since no seed noise of these recipes is known"
        raise ParameterError("--seeds", problem, "Allow more, or measure it: segline noise.")
    with tempfile.TemporaryDirectory(prefix="segline-") as folder, _on_standard_error():
        theirs = recipes.of_revision(base, commit, root, Path(folder, "base"))
        return _judge(opened, noise, plan, (theirs, recipes.of_working_tree(root)), root)


@contextmanager
def _on_standard_error() -> Iterator[None]:
    """What trainings and their processes say goes there: standard output has the judgement alone."""
    sys.stdout.flush()
    saved = os.dup(OUTPUT)
    os.dup2(ERRORS, OUTPUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, OUTPUT)
        os.close(saved)


def _judge(
    opened: Opening, noise: SeedNoise | None, plan: series.Plan, sides: tuple[Recipe, Recipe], root: Path
) -> Judgement:
    rules, path = opened.rules, Path(opened.rules.noise_file)
    doubt = reach.doubt(rules.criteria, noise, path, plan.last) if noise else None
    if doubt:
        console.warn(doubt)
    runs = _Runs(root, sides)
    first = max([sides[0].seed, *(noise.seeds if noise else [])]) + 1
    seeds: list[int] = []
    pairs: list[Pair] = []
    findings: list[Finding] = []
    for count in range(plan.first, plan.last + 1):
        more = range(first + len(seeds), first + count)
        pairs += [_pair(opened, *saved) for saved in runs.of(more)]
        seeds += more
        findings = _findings(pairs, opened, noise, plan)
        verdict = decision.overall(findings)
        console.say(f"gate: {verdict} after {count} seeds a side")
        if verdict is not Verdict.INCONCLUSIVE:
            break
    is_same = all(judgement.same(pair) for pair in pairs)
    notes = [messages.pooled(noise, rules.noise_file), *([doubt] if doubt else [])]
    notes.append(messages.trained(runs.made, runs.used, str(kept_runs.FOLDER), runs.machine))
    notes += [messages.packages(side.label, others) for side in sides if (others := recipes.other_packages(side))]
    notes += [*judgement.notes_on_images(pairs[0], findings, is_same), *opened.notes]
    return judgement.of_findings(pairs, findings, rules, notes, seeds=tuple(seeds), budget=plan.last)


def _findings(pairs: Sequence[Pair], opened: Opening, noise: SeedNoise | None, plan: series.Plan) -> list[Finding]:
    criteria, path = opened.rules.criteria, Path(opened.rules.noise_file)
    is_same = all(judgement.same(pair) for pair in pairs)
    noises = judgement.noises(criteria, noise, path)
    return series.decide(series.gather(pairs, criteria, is_same), criteria, noises, plan)


def _pair(opened: Opening, base: Saved, candidate: Saved) -> Pair:
    """Two runs. Raises DataError if they were not evaluated as the committed metrics were."""
    pair = pairing.pair(base, candidate)
    where = f"{base.place} and the metrics of {base.label}"
    pairing.require_equal(where, pair.protocol, opened.pair.protocol, kept_runs.REMEDY)
    return pair


class _Runs:
    """Runs of both sides: kept ones, and those that are made now. `made` and `used` count them."""

    def __init__(self, root: Path, sides: tuple[Recipe, Recipe]) -> None:
        self._root, self._sides = root, sides
        self.machine = recipes.machine()
        self._contents = [side.content(self.machine) for side in sides]
        self._keys = [recipes.key(content) for content in self._contents]
        self.made = self.used = 0

    def of(self, seeds: Sequence[int]) -> list[tuple[Saved, Saved]]:
        """Both sides' runs with these seeds."""
        wanted = {(key, seed): place for place, key in enumerate(self._keys) for seed in seeds}  # equal sides: one run
        missing = [run for run in wanted if not (self._root / kept_runs.place(*run)).exists()]
        self.used += len(wanted)
        self.made += len(missing)
        self._make({run: wanted[run] for run in missing})
        return [(self._kept(0, seed), self._kept(1, seed)) for seed in seeds]

    def _make(self, runs: Mapping[tuple[str, int], int]) -> None:
        """Trains and keeps each as it ends, so that what was made stays if another fails."""
        paths = saved_metrics.evaluation(), saved_metrics.per_image()
        names = {f"{self._sides[place].label}, seed {seed}": (key, seed) for (key, seed), place in runs.items()}
        wanted = []
        for name, run in names.items():
            side = self._sides[runs[run]]
            wanted.append(Training(name, side.root, side.store, side.stages, {"train.seed": run[1]}, paths))
        with closing(trainings.run(wanted)) as ended:
            for each in ended:
                run = names[each.training.name]
                files = {path.name: content for path, content in each.files.items()}
                kept_runs.write(self._root, *run, self._contents[runs[run]], files)
                console.say(f"{each.training.name}: trained and evaluated, kept in {kept_runs.place(*run)}")

    def _kept(self, place: int, seed: int) -> Saved:
        side = self._sides[place]
        return kept_runs.read(self._root, self._keys[place], seed, side.label, side.commit)
