"""The templates of pages, in which every value is escaped and a missing one is an error."""

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from segline.reporting import formatting


def environment(*folders: str) -> Environment:
    """The templates in these folders of `segline`, then those beside this file; with the filter `percent`."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader("segline", folder) for folder in (*folders, "reporting")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["percent"] = formatting.percent
    return made
