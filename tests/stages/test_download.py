import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from segline.core.errors import ParameterError
from segline.dataset import raw
from stages import download

ROOT = Path(download.__file__).parents[1]
FILES = {
    "CamVid/val/0016E5_07959.png": b"image",
    "CamVid/valannot/0016E5_07959.png": b"mask",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a params.yaml, an archive of one pair, its manifest, and the outputs of an earlier run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    Path("params.yaml").write_text(
        "data:\n  source: camvid\n  camvid:\n    url: archive.tar.gz\n    splits: [val]\n", encoding="utf-8"
    )
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in FILES.items()]
    Path("manifest.sha256").write_text("".join(lines), encoding="utf-8")
    pack(FILES)
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/earlier.txt").write_text("earlier", encoding="utf-8")
    return tmp_path


def pack(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            header = tarfile.TarInfo(f"top/{name}")
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    Path("archive.tar.gz").write_bytes(gzip.compress(buffer.getvalue()))


def snapshot(folder=Path("data")):
    return {path.as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


ARGUMENTS = ["--input", "manifest.sha256", "--raw", "data/raw"]


@pytest.mark.usefixtures("project")
def test_the_data_set_takes_the_place_of_the_earlier_one(capsys):
    download.main(ARGUMENTS)

    assert set(snapshot()) == {
        "data/raw/dataset.json",
        "data/raw/val/images/0016E5_07959.png",
        "data/raw/val/masks/0016E5_07959.png",
    }
    assert [pair.stem for pair in raw.read(Path("data/raw")).splits["val"]] == ["0016E5_07959"]
    assert capsys.readouterr().out == "data/raw: camvid, 11 classes; pairs (groups): val 1 (1)\n"


@pytest.mark.usefixtures("project")
def test_a_second_run_gives_the_same_bytes():
    download.main(ARGUMENTS)
    first = snapshot()
    download.main(ARGUMENTS)

    assert snapshot() == first


@pytest.mark.usefixtures("project")
def test_a_failure_is_one_line_and_leaves_the_earlier_data():
    pack(FILES | {"../x": b"hostile"})
    before = snapshot(Path())

    result = subprocess.run(
        [sys.executable, "-m", "stages.download", *ARGUMENTS], capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "error: archive.tar.gz: member 'top/../x' leads out of its folder. "
        "Get another copy of the archive, or set data.camvid.url to a good one.\n"
    )
    assert snapshot(Path()) == before


def test_the_command_of_dvc_yaml_takes_an_input_with_spaces(project):
    """As the shell reads it, after DVC has filled in `data.input`."""
    (project / "manifest.sha256").rename(project / "my  own manifest.sha256")
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    command = pipeline["stages"]["download"]["cmd"].replace("${data.input}", "my  own manifest.sha256")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(["sh", "-c", command], env=os.environ | {"PATH": path}, capture_output=True, check=False)

    assert (0, b"") == (done.returncode, done.stderr)
    assert ["0016E5_07959"] == [pair.stem for pair in raw.read(Path("data/raw")).splits["val"]]


@pytest.mark.usefixtures("project")
def test_an_unknown_source_is_an_error_in_its_key():
    Path("params.yaml").write_text("data: {source: camvit}\n", encoding="utf-8")

    with pytest.raises(ParameterError, match=r"params.yaml: data.source: 'camvit' is not in .* Did you mean camvid\?"):
        download.main(ARGUMENTS)


def test_every_path_is_required(capsys):
    with pytest.raises(SystemExit):
        download.main(["--raw", "data/raw"])

    assert "--input" in capsys.readouterr().err


def test_the_stage_never_imports_torch_or_mlflow():
    """Together they take 2 s to import, and this stage needs neither."""
    program = (
        "import sys, stages.download, segline.sources.camvid;"
        "print(sorted({'torch', 'mlflow', 'cv2', 'dvc'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )

    assert result.stdout == "[]\n"
