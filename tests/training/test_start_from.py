"""A training starts from an earlier model: what both know is taken over, shown by equal logits; the rest is said."""

import hashlib
import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from segline.commands import check
from segline.core import params
from segline.core.errors import IntegrityError, ParameterError, PipelineError
from segline.dataset import raw
from segline.dataset.preparation import Bands
from segline.model import checkpoint, randomness
from segline.training import start_from
from stages import evaluate, train
from tests import tiny
from tests.networks.test_networks import NAMES, SECTIONS

ROOT = Path(__file__).parents[2]
OLD = ("road", "sky", "car", "tree")


def described(name: str, classes: Sequence[str], bands: Bands = "rgb", head: str = "softmax") -> checkpoint.Description:
    preparation = replace(tiny.stretched(16, 24), bands=bands)
    labels = tuple(raw.Label(each, (number, 0, 0)) for number, each in enumerate(classes))
    return checkpoint.Description(name, SECTIONS[name].model_dump(), head, preparation, 127.5, 127.5, labels, ())


def drawn(model: checkpoint.Description, seed: int) -> nn.Module:
    """Weights and batch statistics of this seed: a network with statistics of its own, as after training."""
    randomness.deterministic(seed)
    network = checkpoint.network(model)
    for tensor in network.state_dict().values():
        if tensor.ndim == 1 and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return network.eval()


def started(old: checkpoint.Description, new: checkpoint.Description) -> tuple[nn.Module, nn.Module, list[str]]:
    """The earlier network, the new one that starts from it, and what was said."""
    earlier, network = drawn(old, seed=1), drawn(new, seed=2)
    lines = start_from.load(network, start_from.Earlier("old.safetensors", earlier.state_dict(), old), new)
    return earlier, network, lines


def images(channels: int) -> Tensor:
    return torch.rand(2, channels, 17, 30, generator=torch.Generator().manual_seed(3)) * 2 - 1


def assert_equal(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_classes_and_bands_give_the_same_network(name):
    earlier, network, lines = started(described(name, OLD), described(name, OLD))
    pairs = zip(earlier.state_dict().values(), network.state_dict().values(), strict=True)

    assert all(torch.equal(old, new) for old, new in pairs)
    assert ["starts from old.safetensors: classes taken over: road, sky, car, tree"] == lines


@pytest.mark.parametrize(
    "new", [("tree", "wall", "road"), ("sky", "road"), (*OLD, "a", "b"), ("car", *OLD[:2], "tree")]
)
@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_classes_that_both_have_keep_their_logits_whatever_their_number(name, new):
    """Others keep the rows of the head that were drawn for them."""
    earlier, network, _ = started(described(name, OLD), described(name, new))
    shown = images(3)
    old, now = earlier(shown), network(shown)

    for label in set(new) & set(OLD):
        assert_equal(old[:, OLD.index(label)], now[:, new.index(label)])


def test_the_rows_of_new_classes_stay_as_they_were_drawn():
    new = ("tree", "wall", "road", "fence")
    old, model = described("unet", OLD), described("unet", new)
    earlier, network, lines = started(old, model)
    rows = {1: ("wall", drawn(model, seed=2)), 3: ("fence", drawn(model, seed=2)), 0: ("tree", earlier)}

    for row, (label, origin) in rows.items():
        place = OLD.index(label) if origin is earlier else row
        assert torch.equal(origin.head.weight[place], network.head.weight[row])
        assert torch.equal(origin.head.bias[place], network.head.bias[row])
    assert [
        "starts from old.safetensors: classes taken over: tree, road; drawn anew: wall, fence; left out: sky, car"
    ] == lines


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_bands_that_both_have_keep_their_part_and_a_new_one_has_none_yet(name):
    """The network answers as the earlier one, whatever the new band shows; the order of the bands may differ.

    With three bands, encoders of ImageNet scale each in its own way; with other numbers, all in the same way.
    """
    earlier, network, lines = started(described(name, OLD, (4, 1, 2, 5)), described(name, OLD, (1, 2, 7, 4, 5)))
    shown = images(5)

    assert_equal(earlier(shown[:, [3, 0, 1, 4]]), network(shown))
    assert_equal(network(shown), network(shown * torch.tensor([1, 1, -5, 1, 1]).view(1, 5, 1, 1)))
    assert "bands taken over: 1, 2, 4, 5; starting at 0: 7" == lines[1]


@pytest.mark.parametrize(
    ("old", "new", "pick", "said"),
    [
        ("rgb", "gray", [0, 0, 0], "bands taken over: gray from red + green + blue"),
        ("rgb", (4, 3, 2), [0, 1, 2], "bands taken over: 4 from red, 3 from green, 2 from blue"),
        ("rgb", (1, 2, 3, 8), [0, 1, 2], "bands taken over: 1 from red, 2 from green, 3 from blue; starting at 0: 8"),
        ((5, 4, 3), "rgb", [0, 1, 2], "bands taken over: red from 5, green from 4, blue from 3"),
        ((5,), "gray", [0], "bands taken over: gray from 5"),
        ("rgb", (2, 1), [0, 1, None], "bands taken over: 2 from red, 1 from green; left out: blue"),
        ((1, 2, 3), (3, 1), [1, None, 0], "bands taken over: 3, 1; left out: 2"),
        ((6, 7, 8, 9), "gray", [0, 0, 0, None], "bands taken over: gray from 6 + 7 + 8; left out: 9"),
    ],
)
@torch.inference_mode()
def test_the_earlier_network_sees_the_new_bands_as(old, new, pick, said):
    """`pick` is the new band that each earlier one shows; None is one that is 0 everywhere, mid-gray."""
    earlier, network, lines = started(described("unet", OLD, old), described("unet", OLD, new))
    shown = images(network.state_dict()["encoder.0.0.0.weight"].shape[1])
    seen = torch.stack([torch.zeros_like(shown[:, 0]) if band is None else shown[:, band] for band in pick], dim=1)

    assert_equal(earlier(seen), network(shown))
    assert said == lines[1]


@torch.inference_mode()
def test_colours_start_as_thirds_of_gray():
    earlier, network, lines = started(described("unet", OLD, "gray"), described("unet", OLD, "rgb"))
    shown = images(3)

    assert_equal(earlier(shown.mean(dim=1, keepdim=True)), network(shown))
    assert "bands taken over: red from gray, green from gray, blue from gray" == lines[1]


def test_without_a_band_in_common_the_first_convolution_is_drawn_anew_and_the_rest_is_not():
    old, new = described("unet", OLD, (1, 2)), described("unet", OLD, (3, 4))
    earlier, network, lines = started(old, new)
    was, now, fresh = (each.state_dict() for each in (earlier, network, drawn(new, seed=2)))

    assert ["encoder.0.0.0.weight"] == [key for key in now if not torch.equal(now[key], was[key])]
    assert torch.equal(now["encoder.0.0.0.weight"], fresh["encoder.0.0.0.weight"])
    assert ["bands drawn anew: 3, 4; left out: 1, 2", "weights drawn anew: encoder.0.0.0.weight"] == lines[1:]


def test_one_logit_is_that_of_the_object_and_another_head_is_drawn_anew():
    sigmoid = described("small_unet", ("background", "cell"), "gray", "sigmoid")
    earlier, network, lines = started(sigmoid, described("small_unet", ("other", "cell"), "gray", "sigmoid"))
    *_, of_another_head = started(described("small_unet", ("background", "cell"), "gray"), sigmoid)

    assert torch.equal(earlier(images(1)), network(images(1)))
    assert ["starts from old.safetensors: classes taken over: cell"] == lines
    assert (
        "starts from old.safetensors: its head is softmax, so that of all classes is drawn anew" == of_another_head[0]
    )


def test_another_size_and_scaling_are_said():
    old = replace(described("unet", OLD), mean=100.0, std=50.0)
    new = replace(described("unet", OLD), preparation=tiny.stretched(480, 360))
    *_, lines = started(old, new)

    assert [
        "inputs of 360x480, there of 24x16",
        "inputs scaled by mean 127.5 and deviation 127.5, there 100 and 50",
    ] == (lines[1:])


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with processed data, and a model of two epochs, old.safetensors."""
    tiny.begin(tmp_path, monkeypatch)
    train.main(tiny.TRAIN)
    return Path("models/model.safetensors").rename("old.safetensors")


def start(path: Path | str, sha256: str | None = None) -> dict[str, str]:
    return {"model": str(path), "sha256": sha256 or hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def content(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the metadata of a model file."""
    with safe_open(path, framework="pt") as archive:
        return load_file(path), json.loads(archive.metadata()["segline"])


def test_the_stage_goes_on_from_the_model_and_records_its_hash_and_not_its_path(project, capsys):
    """A learning rate of almost 0 leaves the weights as they were."""
    still = {"train__learning_rate": 1e-12, "train__weight_decay": 0.0, "train__ema": 0.9, "train__frozen_epochs": 1}
    tiny.write_params(Path(), train__start_from=start(project), train__encoder_rate=0.5, **still)
    train.main(tiny.TRAIN)
    weights, metadata = content(Path("models/model.safetensors"))
    old, without = content(project)

    for name, tensor in weights.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(old[name], tensor, msg=name)
    assert start(project)["sha256"] == metadata.pop("started_from")
    assert without.keys() == metadata.keys()
    assert "old.safetensors" not in json.dumps(metadata)
    assert "train: starts from old.safetensors: classes taken over: dark, middle, bright" in capsys.readouterr().out
    evaluate.main(tiny.EVALUATE)


def test_it_goes_on_from_a_better_place_than_from_random_weights(project):
    def first_loss() -> float:
        train.main(tiny.TRAIN)
        return float(Path("metrics/history.csv").read_text().splitlines()[1].split(",")[2])

    tiny.write_params(Path(), train__epochs=12)
    train.main(tiny.TRAIN)
    later = Path("models/model.safetensors").rename("later.safetensors")
    tiny.write_params(Path())
    anew = first_loss()
    tiny.write_params(Path(), train__start_from=start(later))

    assert first_loss() < 0.8 * anew


def test_a_file_of_half_precision_and_one_of_an_older_version_can_be_started_from(project):
    weights, metadata = content(project)
    preparation = metadata.pop("preparation")
    old = {key: preparation[key] for key in ("height", "width")} | {"channels": 3} | metadata
    old.pop("sha256")
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    save_file(half, "half.safetensors", {"segline": json.dumps(old)})
    tiny.write_params(Path(), train__start_from=start("half.safetensors"))
    train.main(tiny.TRAIN)

    assert {torch.float32, torch.int64} == {
        tensor.dtype for tensor in content(Path("models/model.safetensors"))[0].values()
    }


def refused(section: dict[str, str], **changes: Any) -> PipelineError:
    """What the stage says, before it trains."""
    tiny.write_params(Path(), train__start_from=section, **changes)
    with pytest.raises(PipelineError) as caught:
        train.main(tiny.TRAIN)
    assert 1 == len(str(caught.value).splitlines())
    assert not Path("models/model.safetensors").exists()
    return caught.value


def test_a_missing_or_other_file_is_refused_before_it_is_parsed(project):
    missing = refused(start("new.safetensors", 64 * "0"))
    other = refused(start(project, 64 * "0"))
    Path("no.safetensors").write_bytes(b"nothing")
    broken = refused(start("no.safetensors"))

    assert isinstance(missing, ParameterError)
    assert isinstance(other, IntegrityError)
    assert str(missing) == (
        "params.yaml: train.start_from.model: new.safetensors: missing. "
        "Put the model file there, or write null to start anew."
    )
    assert f"old.safetensors: sha256 expected {64 * '0'}, got {start(project)['sha256']}. Use the file" in str(other)
    assert "no.safetensors: not a Segline model" in str(broken)


@pytest.mark.parametrize("path", ["models/model.safetensors", "./metrics/../models/model.safetensors"])
def test_an_output_of_the_pipeline_is_refused_as_dvc_would_remove_it_first(project, path):
    Path("models/model.safetensors").symlink_to(project.absolute())
    with pytest.raises(ParameterError) as caught:
        start_from.read(start_from.Section(**start(path)), yaml.safe_load(Path("params.yaml").read_text()))

    assert str(caught.value) == (
        f"params.yaml: train.start_from.model: {path} is what the stages write, so DVC would remove it first. "
        f"Copy it to data/weights/, such as `cp {path} data/weights/first.safetensors`, and name the copy."
    )


def test_another_network_is_refused_and_what_differs_is_named(project):
    another = {"name": "fcn", "head": "softmax", "fcn": {"upsampling": "nearest", "dropout": 0.0}}
    document = yaml.safe_load(Path("params.yaml").read_text())
    document["model"] = another
    section = start_from.Section(**start(project))
    with pytest.raises(ParameterError) as caught:
        start_from.read(section, document)

    assert str(caught.value) == (
        "params.yaml: model.name: fcn, but old.safetensors has the network unet. "
        "Write unet, or write null for train.start_from."
    )
    wide = {"width": 8, "depth": 1, "norm": "none", "dropout": 0.5}
    assert str(refused(start(project), model__unet=wide)) == (
        "params.yaml: model.unet: width 8, norm none, but the network of old.safetensors has width 4, norm batch. "
        "Write its values, or write null for train.start_from."
    )


def test_another_dropout_is_no_other_network(project):
    unet = {"width": 4, "depth": 1, "norm": "batch", "dropout": 0.5}
    tiny.write_params(Path(), train__start_from=start(project), model__unet=unet)
    train.main(tiny.TRAIN)

    assert 0.5 == content(Path("models/model.safetensors"))[1]["parameters"]["dropout"]


def test_weights_and_a_model_to_start_from_are_one_too_many(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = described("unet_mobilenet_v2", OLD)
    checkpoint.write(Path("old.safetensors"), checkpoint.network(model).state_dict(), model)
    named = {"decoder_width": 4, "weights": "imagenet.pth", "weights_sha256": 64 * "0"}
    document = {"model": {"name": "unet_mobilenet_v2", "unet_mobilenet_v2": named}}
    with pytest.raises(ParameterError) as caught:
        start_from.read(start_from.Section(**start("old.safetensors")), document)

    assert str(caught.value) == (
        "params.yaml: train.start_from: names a file, and model.unet_mobilenet_v2.weights another. "
        'Keep one of them: write "" for the weights, or write null for train.start_from.'
    )


@pytest.mark.parametrize(
    "value", ["old.safetensors", {"model": "a"}, {"model": "a", "sha256": "12"}, {"sha256": 64 * "0"}]
)
def test_half_a_section_is_refused_with_its_form(tmp_path, value):
    document = params.load(ROOT / "params.yaml")
    document["train"]["start_from"] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))
    (problem,) = check.problems(tmp_path / "params.yaml")

    assert "train.start_from: expected null, or {model: FILE, sha256: 64 hexadecimal digits}, got" in str(problem)


def test_check_reports_a_file_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SEGLINE_TRACKING", "off")
    document = params.load(ROOT / "params.yaml")
    document["train"]["start_from"] = start("missing.safetensors", 64 * "0")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(document))

    assert [] == check.problems(tmp_path / "params.yaml")
    assert "missing.safetensors: missing" in str(check.on_this_machine(tmp_path / "params.yaml"))


def shown_in_docs() -> tuple[str, str, list[str]]:
    """The commands, the parameters and the lines of the example in docs/weights.md."""
    text = (ROOT / "docs/weights.md").read_text(encoding="utf-8").partition("## From a model of your own")[2]
    (_, commands), (_, parameters), (_, lines) = re.findall(r"```(\w*)\n(.+?)```", text, re.DOTALL)
    return commands, parameters, lines.splitlines()


def begin_with(names: str, path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """A project whose classes have these names."""
    labels = tuple(replace(label, name=name) for label, name in zip(tiny.CLASSES, names.split(), strict=True))
    path.mkdir()
    tiny.begin(path, monkeypatch, labels, **changes)


def test_the_example_in_docs(tmp_path, monkeypatch, capsys):
    commands, parameters, lines = shown_in_docs()
    begin_with("sky road car", tmp_path / "first", monkeypatch)
    train.main(tiny.TRAIN)
    hashed = subprocess.run(commands, shell=True, capture_output=True, text=True, check=True).stdout
    begin_with("sky road van", tmp_path / "next", monkeypatch, preprocess__height=24, preprocess__width=32)
    Path("data/weights").symlink_to(tmp_path / "first/data/weights")
    document = yaml.safe_load(Path("params.yaml").read_text())
    document["train"] |= yaml.safe_load(parameters.replace("the 64 digits", hashed.split()[0]))["train"]
    Path("params.yaml").write_text(yaml.safe_dump(document))
    capsys.readouterr()
    train.main(tiny.TRAIN)

    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("train: ")]
    assert lines == said
