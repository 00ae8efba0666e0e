"""The scores of a model file on a split of its preset's data, from the pipeline's own stages, without training.

    python -m benchmarks.score pretrained/camvid.safetensors [--preset camvid] [--split test] [--set KEY=VALUE]

Download, preprocess and evaluate run in a temporary folder, at the size that the model was trained at; the working tree
is not touched. `--set data.camvid.url=FILE` uses a local copy of the archive.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.record import ROOT, changed
from benchmarks.turns import timed
from segline.commands import presets
from segline.core import params, records
from segline.model import checkpoint
from segline.monitoring import console, mlflow_run
from segline.reproducibility import sandbox
from stages import download, evaluate, preprocess

RESULTS = {
    "metrics": "eval.json",
    "per-class": "per_class.csv",
    "per-image": "per_image.csv",
    "confusion": "confusion.json",
    "predictions": "predictions",
}


def settings(document: params.Document, model: checkpoint.Description, split: str) -> params.Document:
    """The preset's parameters for this model and for one split."""
    document["data"]["input"] = str(ROOT / document["data"]["input"])
    document["evaluate"]["split"] = split
    document["model"]["name"] = model.network
    as_trained = asdict(model.preparation)
    for measured in ("intensity", "dtype", "file_bands"):  # a preset's own: they are measured again
        del as_trained[measured]
    document["preprocess"] |= json.loads(json.dumps(as_trained))  # tuples become lists
    source = document["data"][document["data"]["source"]]
    if "splits" in source:
        source["splits"] = [split]
    return document


def score(document: params.Document, model: Path) -> tuple[dict[str, Any], float]:
    """eval.json of a model file, and the stage's seconds for each image, including scores at the masks' own size."""
    split = document["evaluate"]["split"]
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary):
        params.FILE.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
        sandbox.link_named(document, ROOT, Path())
        download.main(["--input", document["data"]["input"], "--raw", "raw"])
        preprocess.main(["--raw", "raw", "--processed", "processed"])
        paths = [text for name, path in RESULTS.items() for text in (f"--{name}", path)]
        inputs = ["--processed", f"processed/{split}", "--raw", f"raw/{split}", "--model", str(model)]
        seconds = timed(lambda: evaluate.main([*inputs, *paths]))
        content: dict[str, Any] = records.read_json(Path(RESULTS["metrics"]))
    return content, seconds / int(content["protocol"]["images"])


def cell(scores: dict[str, Any], name: str) -> str:
    """A rate, with its 95 % interval if it has one."""
    interval = scores["interval"].get(name)
    bounds = f" ({interval['low']:.4f} to {interval['high']:.4f})" if interval else ""
    return f"{scores[name]:.4f}{bounds}"


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table of one model."""
    parser = console.parser(__doc__)
    parser.add_argument("model", type=Path, metavar="MODEL", help="model file, such as pretrained/camvid.safetensors")
    parser.add_argument("--preset", default="camvid", choices=presets.names(ROOT), metavar="NAME", help="(%(default)s)")
    parser.add_argument("--split", default="test", metavar="NAME", help="(%(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another parameter; repeatable")
    args: argparse.Namespace = parser.parse_args(sys.argv[1:] if argv is None else argv)
    model = args.model.absolute()
    _, description = checkpoint.read_named(model)
    document = changed(params.load(ROOT / presets.FOLDER / f"{args.preset}.yaml"), args.set)
    os.environ[mlflow_run.SWITCH] = "off"
    content, seconds = score(settings(document, description, args.split), model)
    void = content["protocol"]["void"]
    console.say(
        f"\n| {args.split}, {content['protocol']['images']} images, void {void} | masks' own size | working size |"
    )
    console.say("|---|---|---|")
    for name in ("accuracy", "miou"):
        console.say(f"| {name} | {cell(content, name)} | {cell(content['working'], name)} |")
    for name, iou in content["iou"].items():
        console.say(f"| IoU {name} | {iou:.4f} | {content['working']['iou'][name]:.4f} |")
    console.say(f"\n{seconds:.2f} s for each image")


if __name__ == "__main__":
    console.run(main)
