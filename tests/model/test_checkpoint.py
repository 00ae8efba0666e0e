"""A model file restores the network that was written, or one line says why it cannot."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segline.core.errors import IntegrityError, ParameterError
from segline.dataset import raw
from segline.model import checkpoint, forward, randomness

DESCRIPTION = checkpoint.Description(
    network="unet",
    parameters={"width": 4, "depth": 2, "norm": "batch", "dropout": 0.1},
    head="softmax",
    channels=3,
    height=16,
    width=24,
    mean=127.5,
    std=127.5,
    classes=(raw.Label("sky", (1, 2, 3)), raw.Label("road", (4, 5, 6))),
    class_weights=(0.5, 1.1),
)


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
        ({"channels": 1}, "expected (4, 1, 3, 3), got (4, 3, 3, 3)"),
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


def test_the_metadata_names_no_time_host_or_run(path):
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    description = json.loads(header["__metadata__"][checkpoint.KEY])

    assert {
        *("network", "parameters", "head", "channels", "height", "width", "mean", "std", "classes", "class_weights")
    } == set(description)


def test_a_sigmoid_network_has_one_output_and_is_read_back_as_one(tmp_path):
    path, description = tmp_path / "model.safetensors", replace(DESCRIPTION, head="sigmoid")
    checkpoint.write(path, checkpoint.network(description).state_dict(), description)
    read, description_read = checkpoint.read(path)

    assert description == description_read
    assert read(torch.randn(1, 3, 16, 24)).shape == (1, 1, 16, 24)
    assert forward.logits(read, torch.randn(1, 3, 16, 24)).shape == (1, 2, 16, 24)


def test_small_unet_with_a_sigmoid_head_has_exactly_the_56_689_parameters_of_system_s3():
    description = replace(DESCRIPTION, network="small_unet", parameters={"width": 16}, head="sigmoid", channels=1)

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
    model = checkpoint.Description(name, {"width": 2}, head, 3, 8, 8, 127.5, 127.5, classes, ())
    checkpoint.write(tmp_path / "other.safetensors", nn.Identity().state_dict(), model)

    with pytest.raises(IntegrityError, match=rf"^{tmp_path}/other\.safetensors: .*{NAMED_REMEDY}"):
        checkpoint.read_named(tmp_path / "other.safetensors")
