import sys

import pytest

from segline.core import plugins
from segline.core.errors import ParameterError


def test_names_are_the_modules_of_the_package_without_what_they_share(package):
    assert plugins.names(package) == ["fcn", "unet"]


def test_the_module_of_that_name_is_chosen(package):
    assert plugins.choose(package, "unet", key="model.name").WIDTH == 64


def test_a_misspelt_name_gets_the_nearest_and_all_names(package):
    with pytest.raises(ParameterError) as caught:
        plugins.choose(package, "uent", key="model.name")

    assert str(caught.value) == (
        f"params.yaml: model.name: 'uent' is not in {package}. Did you mean unet? Choose one of: fcn, unet."
    )


@pytest.mark.parametrize("name", ["blocks", "", "unet.__init__", "..os", "os", "unet/../fcn"])
def test_a_name_that_is_not_listed_is_never_imported(package, name):
    """A name comes from a file a stranger may have written; importing runs code."""
    before = set(sys.modules)

    with pytest.raises(ParameterError):
        plugins.choose(package, name, key="model.name")

    assert set(sys.modules) - before <= {package}


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "nets"
    folder.mkdir()
    for name, text in {"__init__": "", "blocks": "", "fcn": "WIDTH = 32\n", "unet": "WIDTH = 64\n"}.items():
        (folder / f"{name}.py").write_text(text)
    (folder / "notes.txt").write_text("not a module")
    monkeypatch.syspath_prepend(tmp_path)
    yield "nets"
    for name in [name for name in sys.modules if name.partition(".")[0] == "nets"]:
        del sys.modules[name]
