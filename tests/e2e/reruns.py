"""What reruns when something changes: the table that tests compare with `dvc status`, and that the documents show.

Written by hand, from what each file and parameter is for. DVC must agree with it, not it with DVC.
`python -m tests.e2e.reruns` prints the tables of README.md and docs/reproducibility.md.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
STAGES = ("download", "preprocess", "train", "evaluate", "plot")

# What params.yaml chooses where the table is tried out; sections of what is not chosen change nothing.
CHOSEN = {"data.source": "synthetic", "model.name": "unet", "evaluate.split": "test"}

# Key of params.yaml -> the stages it changes directly. The first pattern that fits counts.
# `plot` prints the parameters in the report, so it has those of every stage.
LEAVES = {
    "data.source": "download plot",
    "data.input": "download plot",
    "data.synthetic.*": "download plot",
    "data.*": "",
    "preprocess.*": "preprocess plot",
    "model.name": "train evaluate plot",
    "model.head": "train plot",
    "model.unet.*": "train plot",
    "model.*": "",
    "train.*": "train plot",
    "augment.*": "train plot",
    "evaluate.*": "evaluate plot",
    "plot.*": "plot",
}

# Stages -> the files and folders of code whose edit changes them directly: the longest path that fits a file counts.
CODE = {
    "download preprocess train evaluate plot": "segline/core segline/dataset/preparation.py segline/dataset/raw.py",
    "preprocess train evaluate plot": "segline/dataset",
    "preprocess evaluate": "segline/preprocessing",
    "download preprocess evaluate": "segline/preprocessing/image_files",
    "train evaluate": "segline/model segline/networks/blocks.py segline/networks/unet.py segline/scoring/confusion.py",
    "download": """
        stages/download.py segline/sources/collecting segline/sources/streets segline/sources/synthetic.py
        """,
    "preprocess": "stages/preprocess.py",
    "train": "stages/train.py segline/training",
    "evaluate": "stages/evaluate.py segline/scoring",
    "plot": "stages/plot.py segline/reporting",
    "": """
        stages/__init__.py segline/__init__.py segline/__main__.py segline/commands segline/gate segline/inference
        segline/labels segline/monitoring segline/networks segline/reproducibility segline/scheduling segline/sources
        """,
}

# Data and results -> the stages they change directly: who reads them, and who wrote them (an edit there is undone).
ARTEFACTS = {
    "data/raw/dataset.json": "download preprocess",
    "data/raw/train/images/train-00000-0.png": "download preprocess",
    "data/raw/val/masks/val-00000-0.png": "download preprocess",
    "data/raw/test/images/test-00000-0.png": "download preprocess evaluate",
    "data/raw/test/masks/test-00000-0.png": "download preprocess evaluate",
    "data/processed/train/images-00000.npy": "preprocess train",
    "data/processed/val/onehot-00000.npy": "preprocess train",
    "data/processed/test/images-00000.npy": "preprocess evaluate plot",
    "data/processed/test/index.json": "preprocess evaluate plot",
    "data/processed/test/origins.jsonl": "preprocess evaluate plot",
    "models/model.safetensors": "train evaluate plot",
    "data/augmented/images.npy": "train plot",
    "metrics/history.csv": "train plot",
    "metrics/train.json": "train plot",
    "metrics/eval.json": "evaluate plot",
    "metrics/per_class.csv": "evaluate plot",
    "metrics/per_image.csv": "evaluate plot",
    "metrics/confusion.json": "evaluate plot",
    "data/predictions/test.npy": "evaluate plot",
    "metrics/plots/sheet.png": "plot",
    "metrics/report.html": "plot",
    "models/README.md": "plot",
}

# The table in docs/reproducibility.md: what is changed, and the entry above that gives its stages.
SUMMARY = {
    "`data.source`, `data.input`, or a parameter of the chosen source": "data.synthetic.seed",
    "a parameter of a source or network that is not chosen": "data.camvid.url",
    "`preprocess.*`": "preprocess.height",
    "`model.name`": "model.name",
    "`model.head`": "model.head",
    "a parameter of the chosen network": "model.unet.width",
    "`train.*`": "train.learning_rate",
    "`augment.*`": "augment.rotation",
    "`evaluate.*`": "evaluate.resamples",
    "`plot.*`": "plot.images",
    "the code of the chosen source": "segline/sources/synthetic.py",
    "the code of the chosen network": "segline/networks/unet.py",
    "the loss or the training loop": "segline/training/losses.py",
    "the metrics": "segline/scoring/confusion.py",
    "the look of charts and report": "segline/reporting/charts.py",
    "progress bars, the connection to MLflow, tests, documents": "segline/monitoring/mlflow_run.py",
    "an image or mask of the train split, at the source": "data/raw/train/images/train-00000-0.png",
    "an image or mask of the test split, at the source": "data/raw/test/images/test-00000-0.png",
}

# The rows that README.md shows.
SHORT = (
    "`preprocess.*`",
    "`train.*`",
    "`plot.*`",
    "the loss or the training loop",
    "an image or mask of the test split, at the source",
)


def of_leaf(key: str) -> set[str]:
    """The stages that a key of params.yaml changes directly. Raises LookupError if the table does not know it."""
    for pattern, stages in LEAVES.items():
        if fnmatchcase(key, pattern):
            return set(stages.split())
    raise LookupError(f"{key}: tests/e2e/reruns.py does not say what it reruns")


def of_code(file: str) -> set[str]:
    """The stages that an edit of a file of code changes directly. Raises LookupError if the table does not know it."""
    table = {path: stages for stages, paths in CODE.items() for path in paths.split()}
    for path in (file, *map(str, Path(file).parents)):
        if path in table:
            return set(table[path].split())
    raise LookupError(f"{file}: tests/e2e/reruns.py does not say what it reruns")


def of_artefact(path: str) -> set[str]:
    """The stages that an edit of this data or result file changes directly."""
    return set(ARTEFACTS[path].split())


def _of_any(entry: str) -> set[str]:
    if entry in ARTEFACTS:  # a raw file that changes at the source reaches its readers; download is what brings it
        return of_artefact(entry)
    return of_code(entry) if "/" in entry else of_leaf(entry)


def _spoken(stages: set[str]) -> str:
    return ", ".join(stage for stage in STAGES if stage in stages) or "nothing"


def _downstream(direct: set[str], pipeline: dict[str, Any], split: str | None) -> set[str]:
    """Stages that read, directly or not, what `direct` write (of data: for this split alone); without `direct`."""
    reached = set(direct)
    for stage in STAGES:  # in the order of the pipeline, so that one pass is enough
        written = {path for other in reached for path in outputs(pipeline[other])}
        if split:
            written = {f"{path}/{split}" if path in ("data/raw", "data/processed") else path for path in written}
        inputs = [Path(dep.replace("${evaluate.split}", CHOSEN["evaluate.split"])) for dep in pipeline[stage]["deps"]]
        if any(Path(source) in (path, *path.parents) for source in written for path in inputs):
            reached.add(stage)
    return reached - direct


def outputs(stage: dict[str, Any]) -> list[str]:
    """Every path that a stage of dvc.yaml writes, in its order."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def pipeline() -> dict[str, Any]:
    """The stages of dvc.yaml."""
    stages: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return stages


def rerun_table(rows: Iterable[str] = tuple(SUMMARY)) -> str:
    """What a change reruns, as Markdown: these rows of `SUMMARY`."""
    known = pipeline()
    lines = ["| you change | reruns | and then, if the new outputs differ |", "|---|---|---|"]
    for words in rows:
        entry = SUMMARY[words]
        direct = _of_any(entry)
        split = Path(entry).parts[2] if entry.startswith("data/raw/") else None
        follows = _downstream(direct, known, split)
        lines.append(f"| {words} | {_spoken(direct)} | {_spoken(follows) if follows else '-'} |")
    return "\n".join(lines)


def stage_table() -> str:
    """What each stage does and writes, as Markdown, from dvc.yaml."""
    lines = ["| stage | what it does | writes |", "|---|---|---|"]
    for name, stage in pipeline().items():
        pictures = [path for path in outputs(stage) if path.startswith("metrics/plots/")]
        written = [path for path in outputs(stage) if path not in pictures]
        written += ["metrics/plots/*.png"] * bool(pictures)
        lines.append(f"| {name} | {stage['desc']} | {', '.join(f'`{path}`' for path in written)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    import sys

    sys.stdout.write(f"{stage_table()}\n\n{rerun_table(SHORT)}\n\n{rerun_table()}\n")
