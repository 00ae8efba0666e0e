"""The `segline gate` command: prints a judgement, or the reason why there is none, in the form asked for."""

import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from segline.core import params
from segline.gate import crossvalidated, judgement, render, saved_metrics, until_certain
from segline.gate.decision import Verdict
from segline.monitoring import console

FORMS: dict[str, tuple[Callable[[judgement.Judgement], str], Callable[[str], str] | None]] = {
    "text": (render.as_text, None),  # a refusal goes to standard error only
    "markdown": (render.as_markdown, render.refusal_as_markdown),
    "json": (render.as_json, render.refusal_as_json),
}
SUMMARY = "GITHUB_STEP_SUMMARY"  # a file of GitHub Actions: Markdown appended to it is shown on the job's page
# A command to GitHub Actions, which lists it among the warnings of the run and beside the green check.
ANNOTATION = "::warning title=Gate inconclusive::No regression shown, none ruled out: see the job summary."


def run(base: str, form: str, strict: bool, seeds: int | None = None, *, crossvalidation: bool = False) -> int:
    """Prints the judgement, adds it to the job summary, and returns its exit code. Raises what made it impossible."""
    show, show_refusal = FORMS[form]
    try:
        params.require_top_folder(saved_metrics.evaluation().parent)
        if crossvalidation:
            judged = crossvalidated.judge(base, Path())
        else:
            judged = judgement.judge(base, Path()) if seeds is None else until_certain.judge(base, Path.cwd(), seeds)
        shown, markdown = show(judged), render.as_markdown(judged)
    except Exception as error:
        if show_refusal:
            console.say(show_refusal(console.sentence(error)))
        _summarise(render.refusal_as_markdown(console.sentence(error)))
        raise
    console.say(shown)
    if _summarise(markdown) and judged.verdict is Verdict.INCONCLUSIVE and form == "text":
        console.say(ANNOTATION)
    return judged.exit_code(strict)


def _summarise(markdown: str) -> bool:
    """Whether there is a job summary, which the Markdown was then added to."""
    if path := os.environ.get(SUMMARY):
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(markdown + "\n")
        return True
    return False


def command(args: Namespace) -> int:
    """`segline gate`: the exit code of the judgement."""
    return run(args.base, args.form, args.strict, args.seeds, crossvalidation=args.crossvalidation)
