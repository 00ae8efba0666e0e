"""The README's tables are those that dvc.yaml and the table of reruns give."""

import subprocess
import sys

import pytest

from tests.e2e import reruns


def between(text: str, name: str) -> str:
    """What stands between `<!-- name -->` and `<!-- /name -->`."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    assert (text.count(start), text.count(end)) == (1, 1), f"README.md: expected {start} and {end} once each"
    return text.partition(start)[2].partition(end)[0].strip()


@pytest.mark.parametrize(("name", "table"), [("stages", reruns.stage_table), ("reruns", reruns.readme_table)])
def test_the_readme_shows_the_table(name, table):
    """`python -m tests.e2e.reruns` prints what belongs there."""
    assert table() == between((reruns.ROOT / "README.md").read_text(encoding="utf-8"), name)


def test_both_tables_are_printed():
    command = [sys.executable, "-m", "tests.e2e.reruns"]
    done = subprocess.run(command, cwd=reruns.ROOT, capture_output=True, encoding="utf-8", check=True)

    assert f"{reruns.stage_table()}\n\n{reruns.readme_table()}\n" == done.stdout


def test_what_is_changed_directly_does_not_follow_as_well():
    """A row names each stage once, and nothing follows where nothing reruns."""
    for line in reruns.readme_table().splitlines()[2:]:
        _, _, direct, follows, _ = (cell.strip() for cell in line.split("|"))
        assert not set(direct.split(", ")) & set(follows.split(", "))
        assert direct != "nothing" or follows == "-"
