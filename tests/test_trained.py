"""The model file that a person names."""

from pathlib import Path

import pytest

from segline import trained
from segline.errors import IntegrityError

REMEDY = r"Train one \(make repro\), fetch it \(dvc pull\), or name another file\.$"


def test_a_mistyped_name_a_folder_and_another_file_are_named_each_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no weights")
    for name, found in {
        "gone": "missing",
        "": "a folder, expected a model file",
        "notes.txt": "not a Segline model",
    }.items():
        with pytest.raises(IntegrityError, match=rf"{tmp_path / name}: {found}.*{REMEDY}"):
            trained.read(tmp_path / name)
