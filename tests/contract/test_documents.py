"""What the documents name exists: make targets, `segline` commands, presets, modules, variables, links and anchors."""

import re
import shlex
from importlib.util import find_spec

import pytest

from segline import __main__ as cli
from tests.contract.closure import ROOT

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
HISTORY = {"CHANGELOG.md", "docs/log.md", "docs/decisions.md"}  # these may name what no longer exists
CURRENT = [page for page in PAGES if page not in HISTORY]
INTERNAL = {"SEGLINE_PARENT"}  # set by a process for its own child
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
PRESETS = {path.stem for path in (ROOT / "presets").glob("*.yaml")}


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def command_lines(markdown: str) -> list[list[str]]:
    """The words of every line in a ```sh block, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", markdown, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words for words in lines if words]


def inline_commands(markdown: str) -> list[list[str]]:
    """The words of every `inline` piece of code that begins with make, segline or python -m."""
    prose = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    pieces = re.findall(r"`((?:\w+=\S+ )?(?:make|segline|python -m) [^`]+)`", prose)
    return [shlex.split(piece) for piece in pieces]


def faults(words: list[str]) -> list[str]:
    """What a command line names that does not exist."""
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words = words[1:]
    match words:
        case ["make", *rest]:
            settings = dict(word.split("=", 1) for word in rest if "=" in word)
            wrong = [f"make {word}" for word in rest if "=" not in word and word not in TARGETS]
            wrong += [name for name in settings if not re.search(rf"\$\(?{name}\b", MAKEFILE)]
            preset = settings.get("PRESET", "name")
            return wrong + [f"PRESET={preset}"] * (preset not in {*PRESETS, "name", "..."})
        case ["segline", name, *_]:
            return [] if name in cli.COMMANDS else [f"segline {name}"]
        case ["python", "-m", module, *_]:
            return [] if find_spec(module) else [f"python -m {module}"]
    return []


@pytest.mark.parametrize("page", CURRENT)
def test_every_command_of_a_document_exists(page):
    commands = command_lines(text(page)) + inline_commands(text(page))

    assert [] == [fault for words in commands for fault in faults(words)]


@pytest.mark.parametrize("page", CURRENT)
def test_every_segline_command_line_of_a_document_can_be_parsed(page):
    """Options and their values included."""
    for words in command_lines(text(page)):
        if words[0] == "segline":
            cli.parse(words[1:])


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("make repro PRESET=camvid-tiny", "PRESET=camvid-tiny"),
        ("make everything", "make everything"),
        ("make repro PRESETS=camvid", "PRESETS"),
        ("SEGLINE_DEVICE=cpu segline guess", "segline guess"),
        ("python -m benchmarks.guess", "python -m benchmarks.guess"),
    ],
)
def test_a_command_that_does_not_exist_would_be_noticed(line, fault):
    """The meta-test."""
    assert [fault] == [fault for words in command_lines(f"```sh\n{line}  # why\n```") for fault in faults(words)]
    assert [fault] == [fault for words in inline_commands(f"Call `{line}` now.") for fault in faults(words)]


def anchors(markdown: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    prose = re.sub(r"```.*?```", "", markdown, flags=re.DOTALL)
    titles = re.findall(r"^#+ +(.+?) *$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: str, markdown: str) -> list[str]:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", markdown):
        if target.startswith(("http://", "https://", "data:")):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        if not path.exists() or (anchor and anchor not in anchors(path.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_document_leads_somewhere(page):
    assert [] == broken_links(page, text(page))


def test_a_link_that_leads_nowhere_would_be_noticed():
    """The meta-test."""
    markdown = "[a](docs/results.md#speed) [b](docs/results.md#haste) [c](#pipeline) [d](docs/nothing.md)"

    assert ["docs/results.md#haste", "#pipeline", "docs/nothing.md"] == broken_links("README.md", markdown)


def test_the_variables_that_are_documented_are_those_that_the_code_reads():
    files = [path for folder in ("segline", "tests") for path in (ROOT / folder).rglob("*.py")]
    read = {name for path in files for name in re.findall(r"\bSEGLINE_[A-Z0-9_]+", path.read_text(encoding="utf-8"))}

    assert read - INTERNAL == set(re.findall(r"^\| `(SEGLINE_[A-Z0-9_]+)`", text("docs/machine.md"), re.MULTILINE))


def test_the_readme_can_be_read_in_a_minute():
    assert len(text("README.md").splitlines()) <= 100
