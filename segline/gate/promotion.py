"""`segline promote`: an alias of the model registry moves to a version only if the gate lets that version pass.

Both sides are what evaluate logged in the runs of the two versions, each tied to its version by the hash of the model.
The rules are gate.yaml and its noise file of the working tree. The first version to get the alias is judged by nobody.
"""

from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

from segline.gate import counts, judgement, pairing, render, rule_source, saved_metrics
from segline.gate.decision import Verdict
from segline.gate.saved_metrics import Saved
from segline.monitoring import console, mlflow_registry
from segline.monitoring.mlflow_registry import Version

REMEDY = "Evaluate that model again with tracking on: dvc repro --force --single-item evaluate"
CODES = {Verdict.OK: 0, Verdict.REGRESSION: 1, Verdict.INCONCLUSIVE: 2}


def run(name: str, version: int | None, alias: str) -> int:
    """Judges a version, the newest if None is named, against the one that has the alias, and moves the alias.

    Returns 0 if the version has the alias now, 1 for a regression, 2 if the result is inconclusive. Raises
    PipelineError if there is nothing to judge, or MLflow does not answer.
    """
    with TemporaryDirectory(prefix="segline-") as folder:
        candidate, champion = mlflow_registry.sides(
            name, version, alias, [path.name for path in _files()], Path(folder)
        )
        new, old = _saved(name, candidate), _saved(name, champion) if champion else None
    counts.protocol(new)
    counts.read(new)  # the first version too: no later one could be compared with broken scores
    if champion is None or old is None:
        mlflow_registry.move(name, alias, candidate.version, None)
        console.say(
            f"promote: {name}@{alias} is version {candidate.version} now, the first: there was none to compare with"
        )
        return 0
    if candidate.version == champion.version:
        console.say(f"promote: {name}@{alias} is version {champion.version} already")
        return 0
    pair = pairing.pair(old, new)
    judged = judgement.between(pair, rule_source.of_working_tree(pair, Path()))
    console.say(render.as_text(judged))
    if judged.verdict is Verdict.OK:
        mlflow_registry.move(name, alias, candidate.version, champion.version)
        console.say(f"promote: {name}@{alias} is version {candidate.version} now, no longer {champion.version}")
    else:
        console.say(f"promote: {name}@{alias} stays version {champion.version}")
    return CODES[judged.verdict]


def _files() -> tuple[Path, Path]:
    return saved_metrics.evaluation(), saved_metrics.per_image()


def _saved(name: str, side: Version) -> Saved:
    label = f"{name} version {side.version}"
    evaluation, per_image = ((side.folder / path.name).read_bytes() for path in _files())
    return Saved(label, f"{label}: ", None, evaluation, per_image, REMEDY)


def command(args: Namespace) -> int:
    """`segline promote`."""
    return run(args.name, args.version, args.alias)
