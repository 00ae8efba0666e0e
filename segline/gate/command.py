"""The `segline gate` command: a judgement or the reason why there is none, said in the form asked for."""

import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from segline.core import params
from segline.gate import baseline, judgement, render
from segline.monitoring import console

FORMS: dict[str, tuple[Callable[[judgement.Judgement], str], Callable[[str], str] | None]] = {
    "text": (render.as_text, None),  # a reason for none goes to standard error alone
    "markdown": (render.as_markdown, render.refusal_as_markdown),
    "json": (render.as_json, render.refusal_as_json),
}
SUMMARY = "GITHUB_STEP_SUMMARY"  # a file of GitHub Actions: Markdown appended to it is shown on the page of the job


def run(base: str, form: str, strict: bool) -> int:
    """The exit code of the judgement, which is printed and added to the job summary. Raises what made it impossible."""
    show, show_refusal = FORMS[form]
    try:
        params.require_top_folder(baseline.FOLDER)
        found = judgement.judge(base, Path())
        shown, markdown = show(found), render.as_markdown(found)
    except Exception as error:
        if show_refusal:
            console.say(show_refusal(console.sentence(error)))
        _summarise(render.refusal_as_markdown(console.sentence(error)))
        raise
    console.say(shown)
    _summarise(markdown)
    return found.exit_code(strict)


def _summarise(markdown: str) -> None:
    if path := os.environ.get(SUMMARY):
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(markdown + "\n")


def command(args: Namespace) -> int:
    """`segline gate`: the exit code of the judgement."""
    return run(args.base, args.form, args.strict)
