"""Stages on arrays in many parts, of one row each."""

from pathlib import Path

import pytest

from segline.dataset import parts
from segline.model import batches
from stages import evaluate, plot, preprocess, train
from tests import tiny


def outputs(monkeypatch: pytest.MonkeyPatch, max_bytes: int) -> dict[str, bytes]:
    """What all stages after preprocess write."""
    monkeypatch.setattr(parts, "MAX_BYTES", max_bytes)
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])
    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)
    plot.main(tiny.PLOT)
    folders = ("models", "metrics", "data/augmented", "data/predictions")
    files = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("share", [batches.SHARE, 0], ids=["in memory", "streamed"])
def test_no_output_byte_depends_on_the_parts(tmp_path, monkeypatch, share):
    tiny.begin(tmp_path, monkeypatch, train__sampling={"rare": 0.5})
    with Path("params.yaml").open("a") as stream:
        stream.write("data: {source: folder, input: mine, folder: {}}\n")
    monkeypatch.setattr(batches, "SHARE", share)
    in_one, in_many = (outputs(monkeypatch, max_bytes) for max_bytes in (1 << 30, 1))

    assert 6 == len([*Path("data/processed/train").glob("images-*.npy")])
    assert in_one == in_many
    assert "models/model.safetensors" in in_one
