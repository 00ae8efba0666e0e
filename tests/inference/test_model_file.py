"""The model file that a person names."""

from pathlib import Path

import pytest
from torch import nn

from segline.core.errors import IntegrityError
from segline.dataset import raw
from segline.inference import model_file
from segline.model import checkpoint

REMEDY = r"Train one \(make repro\), fetch it \(dvc pull\), or name another file\.$"


def test_a_mistyped_name_a_folder_and_another_file_are_named_each_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no weights")
    for name, found in {
        "gone": "missing",
        "": "a folder, expected a model file",
        "notes.txt": "not a Segline model",
    }.items():
        with pytest.raises(IntegrityError, match=rf"{tmp_path / name}: {found}.*{REMEDY}"):
            model_file.read(tmp_path / name)


@pytest.mark.parametrize(("name", "head"), [("segformer", "softmax"), ("fcn", "argmax")])
def test_a_network_or_head_of_another_version_is_no_fault_of_params_yaml(tmp_path: Path, name: str, head: str) -> None:
    classes = tuple(raw.Label(name, (0, 0, 0)) for name in "ab")
    model = checkpoint.Description(name, {"width": 2}, head, 3, 8, 8, 127.5, 127.5, classes, ())
    checkpoint.write(tmp_path / "other.safetensors", nn.Identity().state_dict(), model)

    with pytest.raises(IntegrityError, match=rf"^{tmp_path}/other\.safetensors: .*{REMEDY}"):
        model_file.read(tmp_path / "other.safetensors")
