"""A model file restores the network that was written, or one line says why it cannot."""

import errno
import hashlib
import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from segline.core import seal
from segline.core.errors import IntegrityError, ParameterError, PipelineError
from segline.dataset import raw
from segline.model import checkpoint, forward, randomness
from tests import tiny

DESCRIPTION = checkpoint.Description(
    network="unet",
    parameters={"width": 4, "depth": 2, "norm": "batch", "dropout": 0.1},
    head="softmax",
    preparation=tiny.stretched(16, 24),
    mean=127.5,
    std=127.5,
    classes=(raw.Label("sky", (1, 2, 3)), raw.Label("road", (4, 5, 6))),
    class_weights=(0.5, 1.1),
)
PREPARATION = asdict(DESCRIPTION.preparation)


@pytest.fixture
def network():
    randomness.deterministic(3)
    return checkpoint.network(DESCRIPTION)


@pytest.fixture
def path(tmp_path, network):
    checkpoint.write(tmp_path / "model.safetensors", network.state_dict(), DESCRIPTION)
    return tmp_path / "model.safetensors"


def test_what_is_read_is_what_was_written(path, network):
    read, description = checkpoint.read(path)
    images = torch.randn(1, 3, 16, 24)

    assert description == DESCRIPTION
    assert torch.equal(forward.logits(network, images), forward.logits(read, images))


def test_writing_twice_gives_equal_bytes(path, network, tmp_path):
    checkpoint.write(tmp_path / "again.safetensors", network.state_dict(), DESCRIPTION)

    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_bytes_do_not_depend_on_the_memory_layout(path, network, tmp_path):
    plain = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    checkpoint.write(tmp_path / "again.safetensors", plain, DESCRIPTION)

    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_read_as_float32(network, tmp_path, kind):
    half = {name: w.to(kind) if w.is_floating_point() else w for name, w in network.state_dict().items()}
    checkpoint.write(tmp_path / "half.safetensors", half, DESCRIPTION)
    read, description = checkpoint.read(tmp_path / "half.safetensors")
    weights = read.state_dict()

    assert DESCRIPTION == description
    assert {torch.float32, torch.int64} == {tensor.dtype for tensor in weights.values()}
    assert all(torch.equal(half[name].to(tensor.dtype), tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])

    with pytest.raises(IntegrityError, match=r"model.safetensors: not a Segline model"):
        checkpoint.read(path)


def test_a_missing_file_names_the_stage_that_writes_it(tmp_path):
    with pytest.raises(IntegrityError, match=r"missing. Train it again: dvc repro train"):
        checkpoint.read(tmp_path / "model.safetensors")


def test_a_pickle_is_refused_and_not_executed(tmp_path):
    path = tmp_path / "model.safetensors"
    torch.save({"weight": torch.zeros(1)}, path)

    with pytest.raises(IntegrityError, match="not a Segline model"):
        checkpoint.read(path)


def test_safetensors_of_another_program_are_refused(tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")

    with pytest.raises(IntegrityError, match="not a Segline model"):
        checkpoint.read(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"network": "unett"}, "not in segline.networks. Did you mean unet?"),
        ({"network": "os"}, "not in segline.networks"),
        ({"parameters": {**DESCRIPTION.parameters, "width": 8}}, "expected (8, 3, 3, 3), got (4, 3, 3, 3)"),
        ({"parameters": {**DESCRIPTION.parameters, "depth": 1}}, "missing or unexpected"),
        ({"parameters": {**DESCRIPTION.parameters, "depth": "two"}}, "not a Segline model"),
        ({"head": "sigmoid"}, "expected (1, 4, 1, 1), got (2, 4, 1, 1)"),
        ({"head": "tanh"}, "expected softmax or sigmoid, got 'tanh'"),
        ({"class_weights": None}, "not a Segline model"),
        ({"preparation": tiny.stretched(16, 24, 1)}, "expected (4, 1, 3, 3), got (4, 3, 3, 3)"),
    ],
)
def test_a_description_that_does_not_fit_the_weights_is_refused(tmp_path, network, change, expected):
    path = tmp_path / "model.safetensors"
    checkpoint.write(path, network.state_dict(), replace(DESCRIPTION, **change))

    with pytest.raises(Exception, match=r".") as caught:
        checkpoint.read(path)

    assert expected in str(caught.value)


def test_weights_that_are_not_finite_are_refused(tmp_path, network):
    weights = network.state_dict()
    weights["head.bias"] = torch.full_like(weights["head.bias"], np.nan)
    checkpoint.write(tmp_path / "model.safetensors", weights, DESCRIPTION)

    with pytest.raises(IntegrityError, match=r"head.bias is not finite"):
        checkpoint.read(tmp_path / "model.safetensors")


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.complex64, torch.float64, torch.float8_e4m3fn])
def test_weights_of_another_type_are_refused(network, tmp_path, kind):
    weights = network.state_dict() | {"head.bias": network.state_dict()["head.bias"].to(kind)}
    checkpoint.write(tmp_path / "model.safetensors", weights, DESCRIPTION)

    with pytest.raises(IntegrityError, match=rf"weight head\.bias: {kind}, expected torch\.float32"):
        checkpoint.read(tmp_path / "model.safetensors")


def test_the_metadata_names_no_time_host_or_run(path):
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    description = json.loads(header["__metadata__"][checkpoint.KEY])

    assert {
        *("network", "parameters", "head", "preparation", "mean", "std", "classes", "class_weights"),
        "sha256",
    } == set(description)


def of_an_older_version(path: Path, **changes: Any) -> None:
    """The file as it was written before images became rows in more than one way."""
    content = {key: value for key, value in json.loads(metadata(path)).items() if key not in ("sha256", "preparation")}
    content |= {"channels": 3, "height": 16, "width": 24} | changes
    rewritten(path, {checkpoint.KEY: seal.dumps(content, checkpoint._digest(load_file(path)))})


def test_the_images_of_an_older_version_were_stretched(path):
    of_an_older_version(path)

    assert replace(DESCRIPTION.preparation, overlap=0.0) == checkpoint.read(path)[1].preparation


@pytest.mark.parametrize(
    ("lie", "expected"),
    [
        ({"height": 0}, "height: input should be greater than or equal to 1, got 0"),
        ({"channels": 2}, "channels: input should be 1 or 3, got 2"),
    ],
)
def test_a_file_of_an_older_version_that_lies_is_refused(path, lie, expected):
    of_an_older_version(path, **lie)

    with pytest.raises(IntegrityError, match=r"not a Segline model") as caught:
        checkpoint.read(path)
    assert expected in str(caught.value)


def rewritten(path: Path, metadata: dict[str, str], weights: dict[str, torch.Tensor] | None = None) -> None:
    """The file with other metadata, as other programs write it."""
    save_file(weights or load_file(path), path, metadata)


def metadata(path: Path) -> str:
    with safe_open(path, framework="pt") as archive:
        return archive.metadata()[checkpoint.KEY]


def test_every_flipped_bit_is_noticed(path):
    """Of the whole file, and of its header, where most names and numbers are."""
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    draw = np.random.default_rng(11)
    for position in [*range(64), *draw.integers(0, 8 * header, 250), *draw.integers(0, 8 * len(content), 100)]:
        changed = bytearray(content)
        changed[position // 8] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(PipelineError) as caught:
            checkpoint.read(path)
        assert 1 == len(str(caught.value).splitlines())
    path.write_bytes(content)
    checkpoint.read(path)


def test_weights_of_another_file_under_this_description_are_refused(path):
    weights = load_file(path)
    weights["head.bias"] = weights["head.bias"] + 1
    rewritten(path, {checkpoint.KEY: metadata(path)}, weights)

    with pytest.raises(IntegrityError, match=r"model.safetensors: damaged: its content does not match its own sha256"):
        checkpoint.read(path)


def test_the_file_that_ships_has_a_digest_and_the_hash_in_its_record(capsys):
    path = Path(__file__).parents[2] / "pretrained/camvid.safetensors"
    checkpoint.read(path)
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))

    assert "" == capsys.readouterr().err
    assert hashlib.sha256(path.read_bytes()).hexdigest() == about["sha256"]
    assert path.stat().st_size == about["metrics"]["cost"]["model_bytes"]


def test_a_file_without_a_temperature_has_that_of_1_and_another_comes_back(path, network):
    other = replace(DESCRIPTION, temperature=1.375)
    assert "temperature" not in json.loads(metadata(path))
    assert checkpoint.read(path)[1].temperature == 1
    checkpoint.write(path, network.state_dict(), other)

    assert other == checkpoint.read(path)[1]


def test_a_file_of_an_older_version_without_a_digest_is_read_with_a_warning(path, capsys):
    content = {key: value for key, value in json.loads(metadata(path)).items() if key != "sha256"}
    rewritten(path, {checkpoint.KEY: json.dumps(content, sort_keys=True)})
    _, description = checkpoint.read(path)

    assert DESCRIPTION == description
    assert f"warning: {path}: no sha256, as it is of an older version" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lie", "expected"),
    [
        ({"std": math.nan}, "std: input should be"),
        ({"std": 0}, "std: input should be greater than"),
        ({"std": "127.5"}, "std: input should be a valid number"),
        ({"mean": math.inf}, "mean: input should be"),
        ({"temperature": 0}, "temperature: input should be greater than or equal to 0.1, got 0"),
        ({"temperature": math.nan}, "temperature: input should be"),
        ({"preparation": PREPARATION | {"height": -5}}, "height: input should be greater than or equal to 1, got -5"),
        ({"preparation": PREPARATION | {"height": 0}}, "height: input should be greater than or equal to 1, got 0"),
        ({"preparation": PREPARATION | {"width": 48.5}}, "width: input should be a valid integer, got 48.5"),
        ({"preparation": PREPARATION | {"width": 10**9}}, "width: input should be less than or equal to 8192"),
        ({"preparation": PREPARATION | {"scale": 0}}, "scale: input should be greater than or equal to 0.01"),
        ({"preparation": PREPARATION | {"overlap": 1}}, "overlap: input should be less than or equal to 0.9"),
        ({"preparation": PREPARATION | {"fit": "fold"}}, "fit: input should be"),
        ({"preparation": PREPARATION | {"bands": [0]}}, "preparation.bands"),
        ({"preparation": PREPARATION | {"bands": []}}, "preparation.bands"),
        ({"preparation": PREPARATION | {"intensity": {"by": "full"}}}, "intensity.low: field required"),
        ({"preparation": None}, "preparation: input should be"),
        ({"classes": [{"name": "sky", "rgb": [1, 2, 3]}] * 2}, "classes: duplicate name 'sky'"),
        ({"classes": [{"name": "sky", "rgb": [1, 2, 3]}]}, "classes: tuple should have at least 2 items"),
        (
            {"classes": [{"name": f"{n}", "rgb": [1, 2, 3]} for n in range(256)]},
            "classes: tuple should have at most 255",
        ),
        ({"classes": [{"name": f"{n}", "rgb": [1, 2, 3]} for n in range(100_000)]}, "expected at most 1048576"),
        (
            {"classes": [{"name": name, "rgb": [1, 2, 3]} for name in ("a", "b" * 10_000_000)]},
            "expected at most 1048576",
        ),
        ({"classes": [{"name": name, "rgb": [1, 2, 3]} for name in ("a", "b" * 300)]}, "at most 200 characters"),
        ({"classes": [{"name": name, "rgb": [1, 2, 3]} for name in ("a", "b\x1b[31m")]}, "control characters"),
        ({"classes": [{"name": name, "rgb": [1, 2, 3]} for name in ("a", "")]}, "classes.1.name: string should have"),
        ({"classes": [{"name": name, "rgb": [1, 2, 999]} for name in ("a", "b")]}, "classes.0.rgb.2: input should be"),
        ({"class_weights": [1, 2, 3]}, "3 class_weights for 2 classes"),
        ({"class_weights": [1, math.nan]}, "class_weights.1"),
        ({"parameters": {"width": 4}}, "parameters of unet: depth: field required"),
        ({"parameters": {**DESCRIPTION.parameters, "width": 10**9}}, "parameters of unet: width: input should be"),
        ({"parameters": []}, "parameters: input should be"),
        ({"network": "n" * 100_000}, "network: string should have at most 100 characters"),
        ({"network": ["unet"]}, "network: input should be a valid string"),
        ({"extra": 1}, "extra: unexpected keyword argument"),
    ],
)
def test_a_file_that_lies_is_refused_in_one_short_line(path, lie, expected):
    """Its digest is right, as only somebody who means it can write it."""
    content = {key: value for key, value in json.loads(metadata(path)).items() if key != "sha256"}
    weights = load_file(path)
    rewritten(path, {checkpoint.KEY: seal.dumps(content | lie, checkpoint._digest(weights))})

    with pytest.raises(IntegrityError, match=r"not a Segline model") as caught:
        checkpoint.read(path)
    assert expected in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"a":' * 100_000, "[" * 300 + "]" * 300])
def test_a_description_nested_deeply_is_refused(path, deep):
    rewritten(path, {checkpoint.KEY: metadata(path).replace('"softmax"', deep)})
    with pytest.raises(IntegrityError):
        checkpoint.read(path)
    rewritten(path, {checkpoint.KEY: deep})
    with pytest.raises(IntegrityError, match="not a Segline model"):
        checkpoint.read(path)


def test_a_file_without_permission_is_not_missing(path, monkeypatch):
    def refuse(path: object, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", refuse)
    for read in (checkpoint.read, checkpoint.read_named):
        with pytest.raises(IntegrityError, match=r"model.safetensors: cannot be read \(Permission denied\)"):
            read(path)


def test_a_device_and_a_pipe_are_refused_and_not_waited_for(tmp_path):
    (tmp_path / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to("nowhere")
    problem = "a folder, pipe or device, expected a file"
    for name, expected in {"zero": problem, "pipe": problem, "gone": "a link that leads nowhere"}.items():
        with pytest.raises(IntegrityError, match=f"{name}: {expected}"):
            checkpoint.read(tmp_path / name)


def test_a_sigmoid_network_has_one_output_and_is_read_back_as_one(tmp_path):
    path, description = tmp_path / "model.safetensors", replace(DESCRIPTION, head="sigmoid")
    checkpoint.write(path, checkpoint.network(description).state_dict(), description)
    read, description_read = checkpoint.read(path)

    assert description == description_read
    assert read(torch.randn(1, 3, 16, 24)).shape == (1, 1, 16, 24)
    assert forward.logits(read, torch.randn(1, 3, 16, 24)).shape == (1, 2, 16, 24)


def test_small_unet_with_a_sigmoid_head_has_exactly_the_56_689_parameters_of_system_s3():
    description = replace(DESCRIPTION, network="small_unet", parameters={"width": 16}, head="sigmoid")
    description = replace(description, preparation=tiny.stretched(16, 24, 1))

    assert 56_689 == forward.cost(checkpoint.network(description), 1, 16, 16)["parameters"]


def test_sigmoid_is_refused_for_three_classes():
    classes = (*DESCRIPTION.classes, raw.Label("car", (7, 8, 9)))

    with pytest.raises(ParameterError, match=r"model.head: sigmoid is for two classes"):
        checkpoint.network(replace(DESCRIPTION, head="sigmoid", classes=classes))


NAMED_REMEDY = r"Train one \(make repro\), fetch it \(dvc pull\), or name another file\.$"


def test_a_wrong_name_a_folder_and_another_file_named_by_a_user_have_a_remedy_that_fits(tmp_path):
    (tmp_path / "notes.txt").write_text("no weights")
    for name, problem in {
        "gone": "missing",
        "": "a folder, expected a model file",
        "notes.txt": "not a Segline model",
    }.items():
        with pytest.raises(IntegrityError, match=rf"{tmp_path / name}: {problem}.*{NAMED_REMEDY}"):
            checkpoint.read_named(tmp_path / name)


@pytest.mark.parametrize(("name", "head"), [("segformer", "softmax"), ("fcn", "argmax")])
def test_a_network_or_head_of_another_version_is_not_a_fault_of_params_yaml(tmp_path, name, head):
    classes = tuple(raw.Label(label, (0, 0, 0)) for label in "ab")
    model = checkpoint.Description(name, {"width": 2}, head, tiny.stretched(8, 8), 127.5, 127.5, classes, ())
    checkpoint.write(tmp_path / "other.safetensors", nn.Identity().state_dict(), model)

    with pytest.raises(IntegrityError, match=rf"^{tmp_path}/other\.safetensors: .*{NAMED_REMEDY}"):
        checkpoint.read_named(tmp_path / "other.safetensors")
