"""The tables and the graph in the documents are those that dvc.yaml and the table of reruns give."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e import reruns


def between(file: str, name: str) -> str:
    """The text of a document between `<!-- name -->` and `<!-- /name -->`."""
    text = (reruns.ROOT / file).read_text(encoding="utf-8")
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    assert (text.count(start), text.count(end)) == (1, 1), f"{file}: expected {start} and {end} once each"
    return text.partition(start)[2].partition(end)[0].strip()


@pytest.mark.parametrize(
    ("file", "name", "table"),
    [
        ("README.md", "stages", reruns.stage_table()),
        ("README.md", "reruns", reruns.rerun_table(reruns.SHORT)),
        ("docs/reproducibility.md", "reruns", reruns.rerun_table()),
    ],
    ids=["stages", "five rows of reruns", "all rows of reruns"],
)
def test_a_document_shows_the_table(file, name, table):
    """`python -m tests.e2e.reruns` prints what belongs there."""
    assert table == between(file, name)


def test_all_tables_are_printed():
    command = [sys.executable, "-m", "tests.e2e.reruns"]
    done = subprocess.run(command, cwd=reruns.ROOT, capture_output=True, encoding="utf-8", check=True)

    tables = [reruns.stage_table(), reruns.rerun_table(reruns.SHORT), reruns.rerun_table()]
    assert "\n\n".join(tables) + "\n" == done.stdout


def test_what_is_changed_directly_does_not_follow_as_well():
    """A row names each stage once, and nothing follows where nothing reruns."""
    for line in reruns.rerun_table().splitlines()[2:]:
        _, _, direct, follows, _ = (cell.strip() for cell in line.split("|"))
        assert not set(direct.split(", ")) & set(follows.split(", "))
        assert direct != "nothing" or follows == "-"


def drawn(graph: str) -> list[tuple[str, str]]:
    """The arrows of a Mermaid flowchart, whose lines are chains such as `a --> b -- words --> c`."""
    chains = [re.split(r" (?:-- .*? )?--> ", line.strip()) for line in graph.splitlines()[1:]]
    return [arrow for chain in chains for arrow in itertools.pairwise(chain)]


def test_an_arrow_of_a_graph_may_have_a_label():
    graph = "flowchart LR\n    a --> b -- some words --> c\n    a -- words --> c"

    assert [("a", "b"), ("b", "c"), ("a", "c")] == drawn(graph)


def test_the_graph_in_the_readme_has_the_arrows_of_dvc_yaml():
    """One from each stage to each other that reads a file or folder which it writes."""
    graph = re.search(r"```mermaid\n(.*?)\n```", (reruns.ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    stages = yaml.safe_load((reruns.ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    implied = {
        (writer, reader)
        for writer, reader in itertools.permutations(stages, 2)
        for out, dep in itertools.product(reruns.outputs(stages[writer]), stages[reader]["deps"])
        if Path(dep).is_relative_to(out)
    }

    assert sorted(implied) == sorted(drawn(graph))
