"""What is recorded of the labelling tools says with which versions it was made."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOOLS = sorted(path.parent for path in HERE.glob("*/requirements.txt"))


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_recorded_files_were_made_with_the_required_versions(tool):
    wanted = dict(re.findall(r"^([\w-]+)==(\S+)", (tool / "requirements.txt").read_text(), re.MULTILINE))
    made = dict(line.split() for line in (tool / "made" / "made_with.txt").read_text().splitlines())

    assert made
    assert made.items() <= wanted.items()
