"""The `segline gate` command: a judgement or the reason why there is none, said in the form asked for."""

import os
from collections.abc import Callable
from pathlib import Path

from segline import cli, params
from segline.gate import baseline, judgement, page

FORMS: dict[str, tuple[Callable[[judgement.Judgement], str], Callable[[str], str] | None]] = {
    "text": (page.as_text, None),  # a reason for none goes to standard error alone
    "markdown": (page.as_markdown, page.refusal_as_markdown),
    "json": (page.as_json, page.refusal_as_json),
}
SUMMARY = "GITHUB_STEP_SUMMARY"  # a file of GitHub Actions: Markdown appended to it is shown on the page of the job


def run(base: str, form: str, strict: bool) -> int:
    """The exit code of the judgement, which is printed and added to the job summary. Raises what made it impossible."""
    show, show_refusal = FORMS[form]
    try:
        params.require_top_folder(baseline.FOLDER)
        found = judgement.judge(base, Path())
        shown, markdown = show(found), page.as_markdown(found)
    except Exception as error:
        if show_refusal:
            cli.say(show_refusal(cli.sentence(error)))
        _summarise(page.refusal_as_markdown(cli.sentence(error)))
        raise
    cli.say(shown)
    _summarise(markdown)
    return found.exit_code(strict)


def _summarise(markdown: str) -> None:
    if path := os.environ.get(SUMMARY):
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(markdown + "\n")
