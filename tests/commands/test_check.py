"""`segline check` reports every problem of params.yaml before DVC removes anything."""

import copy
import importlib.util
import subprocess
from pathlib import Path

import pytest
import yaml

from segline.__main__ import main
from segline.commands import check, presets
from segline.core import params, plugins
from segline.core.errors import ParameterError, PipelineError

ROOT = Path(__file__).parents[2]


def committed() -> params.Document:
    return params.load(ROOT / "params.yaml")


def reported(tmp_path: Path, document: params.Document) -> str:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return "\n".join(str(problem) for problem in check.problems(path))


def leaves(document: params.Document, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    keys = []
    for key, value in document.items():
        nested = isinstance(value, dict) and value  # an empty mapping is a leaf
        keys += leaves(value, (*prefix, key)) if nested else [(*prefix, key)]
    return keys


def holder(document: params.Document, leaf: tuple[str, ...]) -> params.Document:
    for key in leaf[:-1]:
        document = document[key]
    return document


def test_the_committed_file_is_valid():
    assert [] == check.problems(ROOT / "params.yaml")


@pytest.mark.parametrize("name", presets.names(ROOT))
def test_every_preset_is_valid(name):
    """But where the extra that its network needs is not installed."""
    path = ROOT / "presets" / f"{name}.yaml"
    lacking = []
    if params.load(path)["model"]["name"] == "smp" and not importlib.util.find_spec("segmentation_models_pytorch"):
        lacking = ["params.yaml: model.name"]

    assert lacking == [problem.where for problem in check.problems(path)]


def test_the_committed_file_is_the_preset_synthetic():
    assert (ROOT / "params.yaml").read_bytes() == (ROOT / "presets/synthetic.yaml").read_bytes()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.head", "sigmoid", "sigmoid is for two classes, background and object, and these data have 11"),
        ("preprocess.merge", {"x": ["nosuch"]}, "unknown class 'nosuch'"),
        ("preprocess.merge", {"all": ["sky"]}, "class 'building' is in no list"),
        ("train.frozen_epochs", 3, "3, but the network has no part named encoder"),
        ("train.encoder_rate", 0.1, "0.1, but the network has no part named encoder"),
        ("evaluate.objects", {"smallest": 16, "seed": 0.5}, "objects are to be found, but preprocess.objects is null"),
    ],
)
def test_what_does_not_fit_the_classes_or_the_network_is_found_before_anything_runs(tmp_path, key, value, said):
    document = params.load(ROOT / "presets/camvid-small.yaml")
    section, name = key.split(".")
    document[section][name] = value

    assert said in reported(tmp_path, document)


@pytest.mark.parametrize(
    ("preset", "changes", "said"),
    [
        (
            "camvid-small",
            {"preprocess.bands": [4, 1, 2], "augment.saturation": 0.2},
            "augment.saturation: 0.2 needs R, G and B, but preprocess.bands is [4, 1, 2]. Set it to 0.0, or",
        ),
        (
            "camvid-small",
            {"preprocess.fit": "tile", "preprocess.width": 100},
            "width: expected a multiple of 32 with fit",
        ),
        (
            "camvid-small",
            {"preprocess.intensity": {"by": "window", "low": 9, "high": 5}},
            "intensity.high: expected more",
        ),
        ("camvid-small", {"preprocess.intensity": {"by": "window", "low": 9.0}}, "preprocess.intensity.high: missing"),
        ("camvid-small", {"preprocess.intensity": {"by": "full", "low": 9.0}}, "preprocess.intensity.low: unknown key"),
        ("camvid-small", {"preprocess.intensity": {"by": "max"}}, "intensity.by: input should be full | window | perc"),
        ("camvid-small", {"preprocess.bands": "grey"}, "preprocess.bands: expected rgb, gray, or numbers of bands"),
        ("camvid-small", {"preprocess.bands": [0, 1]}, "preprocess.bands: expected rgb, gray, or numbers of bands"),
        ("camvid-small", {"preprocess.bands": []}, "preprocess.bands: expected rgb, gray, or numbers of bands"),
        (
            "camvid-small",
            {
                "preprocess.intensity": {"by": "percentile", "low": 1.0, "high": 99.0},
                "data.camvid.splits": ["val", "test"],
            },
            "data.camvid: has no split 'train'",
        ),
    ],
)
def test_how_images_are_prepared_must_suit_the_rest(tmp_path, preset, changes, said):
    document = params.load(ROOT / f"presets/{preset}.yaml")
    for key, value in changes.items():
        holder(document, tuple(key.split(".")))[key.split(".")[-1]] = value

    (line,) = reported(tmp_path, document).splitlines()

    assert said in line


def test_any_three_bands_suit_weights_of_rgb_and_gray_suits_a_saturation(tmp_path):
    document = params.load(ROOT / "presets/camvid-mobilenet.yaml")
    document["augment"]["saturation"] = 0.0
    document["preprocess"]["bands"] = [4, 3, 2]
    document["model"]["unet_mobilenet_v2"] |= {"weights": "a.pth", "weights_sha256": 64 * "0"}
    gray = params.load(ROOT / "presets/camvid-small.yaml")
    gray["augment"]["saturation"] = 0.2
    gray["preprocess"]["bands"] = "gray"

    assert "" == reported(tmp_path, document) == reported(tmp_path, gray)


@pytest.mark.parametrize("leaf", leaves(committed()), ids=".".join)
def test_every_leaf_is_required_and_a_misspelt_one_is_named(tmp_path, leaf):
    document = copy.deepcopy(committed())
    section = holder(document, leaf)
    section[leaf[-1] + "x"] = section.pop(leaf[-1])

    text = reported(tmp_path, document)

    assert ".".join(leaf) in text
    assert "unknown key" in text or "missing" in text


@pytest.mark.parametrize("leaf", leaves(committed()), ids=".".join)
@pytest.mark.parametrize("value", [None, [], {"a": 1}, float("nan"), "12:30"])
def test_no_leaf_takes_a_value_of_another_kind(tmp_path, leaf, value):
    if isinstance(value, str) and leaf in {("data", "input")}:
        return  # any text may be a path
    document = copy.deepcopy(committed())
    if value is None is holder(document, leaf)[leaf[-1]]:
        return  # null is one of its values
    holder(document, leaf)[leaf[-1]] = value

    assert ".".join(leaf) in reported(tmp_path, document)


@pytest.mark.parametrize(
    ("leaf", "value"),
    [
        ("train.learning_rate", 0.0),
        ("train.learning_rate", -1.0),
        ("train.batch_size", 0),
        ("train.epochs", 0),
        ("train.seed", -1),
        ("train.optimizer", "sgdd"),
        ("train.precision", "float16"),
        ("train.loss", []),
        ("train.loss", ["dice", "dice"]),
        ("train.loss", ["dicee"]),
        ("train.loss", "dice"),
        ("train.label_smoothing", 1.0),
        ("train.schedule", "polynomial"),
        ("train.clip_norm", -1.0),
        ("train.ema", 1.0),
        ("train.patience", -1),
        ("train.frozen_epochs", -1),
        ("train.encoder_rate", 0.0),
        ("model.head", "sigmoidd"),
        ("preprocess.height", 0),
        ("preprocess.width", 100_000),
        ("model.unet.dropout", 1.0),
        ("model.unet.depth", 99),
        ("data.synthetic.train", 0),
        ("evaluate.split", "../raw"),
        ("evaluate.resamples", 1),
        ("augment.zoom", 0.5),
        ("augment.crop", 0.0),
        ("augment.rotation", 181.0),
        ("augment.cut_mix", 1.5),
        ("plot.images", 0),
    ],
)
def test_a_value_out_of_range_is_refused(tmp_path, leaf, value):
    document = copy.deepcopy(committed())
    holder(document, tuple(leaf.split(".")))[leaf.split(".")[-1]] = value

    text = reported(tmp_path, document)

    assert leaf in text
    assert (repr(value[0]) if value == ["dicee"] else repr(value)) in text


def test_problems_of_all_sections_come_together(tmp_path):
    document = copy.deepcopy(committed())
    document["trian"] = document.pop("train")
    document["preprocess"]["hieght"] = 3
    document["model"]["name"] = "unett"
    document["plot"]["images"] = 0

    text = reported(tmp_path, document)

    for part in (
        "trian: unknown key. Did you mean train?",
        "Did you mean height?",
        "Did you mean unet?",
        "plot.images",
    ):
        assert part in text


def test_a_misspelt_choice_is_unknown_and_missing_at_once(tmp_path):
    document = copy.deepcopy(committed())
    document["data"]["sourcex"] = document["data"].pop("source")

    text = reported(tmp_path, document)

    assert "data.sourcex: unknown key. Did you mean source?" in text
    assert "data.source: missing" in text
    assert "Did you mean sourcex" not in text


@pytest.mark.parametrize("split", ["tst", "train2"])
def test_a_split_that_the_source_does_not_have_is_refused(tmp_path, split):
    document = copy.deepcopy(committed())
    document["evaluate"]["split"] = split

    assert (
        f"data.synthetic: has no split '{split}' (evaluate.split). It has: train, val, test. Set evaluate.split to "
        in reported(tmp_path, document)
    )


def test_a_source_without_a_val_split_is_refused(tmp_path):
    document = params.load(ROOT / "presets/camvid-seed.yaml")
    document["data"]["camvid"]["splits"] = ["train"]

    assert "data.camvid: has no split 'val'" in reported(tmp_path, document)


@pytest.mark.parametrize("path", ["nowhere", "segline/sources/synthetic.py"])
def test_scenes_whose_code_dvc_does_not_watch_are_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(ROOT)
    document = copy.deepcopy(committed())
    document["data"]["input"] = path
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    errors = check.on_this_machine(tmp_path / "params.yaml")

    assert [
        f"params.yaml: data.input: expected segline/sources/streets, the code that draws the scenes, got {path}. "
        "Write segline/sources/streets."
    ] == [str(error) for error in errors]


def with_input(text: str) -> params.Document:
    document = copy.deepcopy(committed())
    document["data"]["input"] = text
    return document


@pytest.mark.parametrize("character", ['"', "$", "`", "\\", "\n", "\r", "\u2028", "\0"])
def test_an_input_that_the_shell_or_dvc_would_change_is_refused(tmp_path, character):
    """It is inside double quotes in a command, which DVC splits into lines."""
    text = reported(tmp_path, with_input(f"my {character} images"))

    assert text.startswith(f"params.yaml: data.input: contains {character!r}, which the shell or DVC would change. ")
    assert 1 == len(text.splitlines())


def test_an_input_with_half_a_surrogate_pair_is_refused_as_dvc_would(tmp_path):
    """DVC's parser does not read it."""
    with pytest.raises(ParameterError, match=r"line \d+: found invalid Unicode character escape code"):
        reported(tmp_path, with_input("my \ud800 images"))


@pytest.mark.parametrize(
    "name", ["my  images", "bilder/stra\u00dfe \u8857\u3000\U0001f600", "it's (1) & 2; *?!#~%{}", "a" * 300]
)
def test_any_other_name_may_be_an_input(tmp_path, name):
    assert "" == reported(tmp_path, with_input(name))
    assert [name] == subprocess.run(
        ["sh", "-c", f'printf %s "{name}"'], capture_output=True, check=True, encoding="utf-8"
    ).stdout.splitlines()


def test_an_input_that_begins_like_an_option_is_refused(tmp_path):
    assert "params.yaml: data.input: -x starts like an option. Write ./-x." == reported(tmp_path, with_input("-x"))


@pytest.mark.parametrize(
    ("text", "output"),
    [
        (".", "data/raw"),
        ("", "data/raw"),
        ("..", "data/raw"),
        ("data", "data/raw"),
        ("data/raw", "data/raw"),
        ("segline/../data/raw/train", "data/raw"),
        (str(ROOT / "data/processed"), "data/processed"),
        ("models/mine", "models"),
        ("metrics", "metrics"),
    ],
)
def test_an_input_that_overlaps_an_output_is_refused(tmp_path, monkeypatch, text, output):
    """DVC would delete what the user keeps there, or rerun forever."""
    monkeypatch.chdir(ROOT)

    assert f"params.yaml: data.input: {text!r} overlaps with {output}, which the pipeline writes. " in reported(
        tmp_path, with_input(text)
    )


def test_a_link_to_an_output_overlaps_it_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine").symlink_to("data/raw")

    assert "'mine' overlaps with data/raw, which the pipeline writes" in reported(tmp_path, with_input("mine"))


def test_a_device_that_is_missing_is_found_out_before_anything_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SEGLINE_DEVICE", "tpu")

    assert ["SEGLINE_DEVICE: expected auto, cpu or cuda, got 'tpu'. Set it to one of them or unset it."] == [
        str(error) for error in check.on_this_machine(ROOT / "params.yaml")
    ]


def test_a_section_of_a_network_that_is_not_chosen_is_checked_too(tmp_path):
    document = copy.deepcopy(committed())
    document["data"]["camvid"] = {"url": "x", "splits": ["train", "nope"]}

    assert "data.camvid.splits" in reported(tmp_path, document)


def test_the_chosen_alternative_must_have_its_section(tmp_path):
    document = copy.deepcopy(committed())
    del document["model"]["unet"]

    assert "model.unet: missing" in reported(tmp_path, document)


def test_every_source_and_network_has_a_section_and_its_function():
    for package, function in (("segline.sources", "collect"), ("segline.networks", "build")):
        for name in plugins.names(package):
            module = plugins.choose(package, name, key="x")
            assert issubclass(module.Section, params.Section)
            assert callable(getattr(module, function))


def test_a_tracking_switch_that_is_none_is_found_out_before_anything_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SEGLINE_TRACKING", "no")

    assert ["SEGLINE_TRACKING: expected on or off, got 'no'. Set it to one of them or unset it."] == [
        str(error) for error in check.on_this_machine(ROOT / "params.yaml")
    ]


def test_shards_too_small_for_batch_normalisation_are_found_before_anything_runs(tmp_path):
    document = committed()
    document["preprocess"] |= {"height": 16, "width": 16}
    assert "" == reported(tmp_path, document)
    document["train"]["shards"] = 4

    assert reported(tmp_path, document).startswith(
        "params.yaml: train.batch_size: a shard of 1 leaves batch normalisation one value per channel in its smallest "
        "feature map. Choose fewer shards, a batch size that "
    )


def test_workers_that_have_no_shard_are_a_doubt_and_no_error(monkeypatch):
    """Other stages may have use for them."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    monkeypatch.setenv("SEGLINE_WORKERS", "3")

    assert [] == check.on_this_machine(ROOT / "params.yaml")
    assert ["SEGLINE_WORKERS is 3 and train.shards 1: 1 trains (a power of two, at most train.shards)"] == check.doubts(
        ROOT / "params.yaml"
    )


def test_workers_that_are_no_number_are_found_out_before_anything_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SEGLINE_WORKERS", "two")

    [error] = check.on_this_machine(ROOT / "params.yaml")
    assert "SEGLINE_WORKERS" == error.where


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_local_archive_that_is_missing_is_a_doubt_and_no_error(tmp_path, monkeypatch, capsys, form):
    """Nothing reads the archive if the raw data came from a cache."""
    monkeypatch.chdir(tmp_path)
    archive = tmp_path / "x.tar.gz"
    document = params.load(ROOT / "presets/camvid-small.yaml")
    document["data"]["camvid"]["url"] = form.format(archive)
    document["data"]["input"] = str(ROOT / "segline/sources/camvid.sha256")
    document["train"]["precision"] = "float32"
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    main(["check"])
    missing = capsys.readouterr()
    archive.touch()
    main(["check"])

    assert "params.yaml: valid\n" == missing.out
    assert f"warning: params.yaml: data.camvid.url: there is no file {archive}. " in missing.err
    assert "" == capsys.readouterr().err


@pytest.mark.parametrize("name", presets.names(ROOT))
def test_data_that_are_downloaded_or_drawn_leave_no_doubt(name):
    assert [] == check.doubts(ROOT / "presets" / f"{name}.yaml")


@pytest.mark.parametrize("command", [["check"], ["preset", "synthetic"], ["restore"]])
def test_a_command_in_a_subfolder_names_the_top_folder(tmp_path, monkeypatch, command):
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")

    with pytest.raises(PipelineError, match=f": missing here. Run it in the project's top folder: cd {tmp_path}$"):
        main(command)


def test_the_command_prints_one_line_for_a_valid_file(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    main(["check"])

    assert "params.yaml: valid\n" == capsys.readouterr().out


def test_the_command_raises_what_the_boundary_prints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(PipelineError, match=r"params.yaml: missing"):
        main(["check"])
