"""Alternatives are modules picked by name: `model.name: unet` is `segline/networks/unet.py`."""

import importlib
import pkgutil
from types import ModuleType

from segline.core.errors import ParameterError, suggestion

SHARED = "blocks"  # what the alternatives of a package have in common; not one of them


def names(package: str) -> list[str]:
    """The alternatives of a package such as `segline.networks`, sorted."""
    folder = importlib.import_module(package).__path__
    return sorted(each.name for each in pkgutil.iter_modules(folder) if each.name != SHARED and not each.ispkg)


def choose(package: str, name: str, key: str) -> ModuleType:
    """The module `package`.`name`, imported only if it is listed. Raises ParameterError naming `key` of params.yaml."""
    known = names(package)
    if name not in known:
        remedy = f"{suggestion(name, known, '')} Choose one of: {', '.join(known)}."
        raise ParameterError(f"params.yaml: {key}", f"{name!r} is not in {package}", remedy)
    return importlib.import_module(f"{package}.{name}")
