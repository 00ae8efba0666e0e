"""A judgement as text or Markdown for people, and as JSON for programs. Names come from files, so all are escaped."""

import html
import json
from collections.abc import Callable, Sequence
from typing import Any

from segline.core import records
from segline.gate import messages
from segline.gate.bootstrap import Interval
from segline.gate.decision import Finding, Verdict
from segline.gate.judgement import Change, Judgement
from segline.reporting import formatting

UNDECIDED = "cannot judge"
WARNING = f"> [!WARNING]\n> {Verdict.INCONCLUSIVE.capitalize()}: the last lines say what would settle it.\n\n"
DOUBT = ": no regression shown, none ruled out"
Table = tuple[list[str], list[list[str]]]  # columns, rows
Layout = Callable[[Table], str]


def as_text(judgement: Judgement) -> str:
    """For a terminal."""
    return _page(judgement, _text_table, str)


def as_markdown(judgement: Judgement) -> str:
    """For a pull request or a job summary. GitHub shows an inconclusive one as a warning."""
    warning = WARNING if judgement.verdict is Verdict.INCONCLUSIVE else ""
    return f"{warning}### {_page(judgement, _markdown_table, _escaped, bullet='- ')}"


def as_json(judgement: Judgement) -> str:
    """Sorted keys, 6 decimals."""
    content = {
        "verdict": judgement.verdict,
        "rules_changed": judgement.changed,
        "rules_own": judgement.own,
        "base": judgement.base,
        "commit": judgement.commit,
        "metrics": [_metric(finding) for finding in judgement.findings],
        "classes": [_change(change) for change in judgement.classes],
        "images": [_change(change) for change in judgement.images],
        "cost": [_change(change) for change in judgement.cost],
        "notes": judgement.notes,
        "seeds": judgement.seeds,
    }
    return json.dumps(records.rounded(content), indent=2, sort_keys=True, allow_nan=False)


def refusal_as_markdown(reason: str) -> str:
    """The reason why nothing was judged."""
    return f"### Gate: CANNOT JUDGE\n\n{_escaped(reason)}"


def refusal_as_json(reason: str) -> str:
    """The same as JSON."""
    return json.dumps({"verdict": UNDECIDED, "reason": reason}, indent=2, sort_keys=True)


def _page(judgement: Judgement, layout: Layout, shown: Callable[[str], str], bullet: str = "") -> str:
    commit = f" ({judgement.commit[:10]})" if judgement.commit else ""
    rules = f" by ITS OWN RULES ({shown(_clean(', '.join(judgement.own)))})" if judgement.own else ""
    doubt = DOUBT if judgement.verdict is Verdict.INCONCLUSIVE else ""
    seeds = f" after {len(judgement.seeds)} of {judgement.budget} seeds a side" if judgement.seeds else ""
    title = f"Gate: {judgement.verdict.upper()}{rules} against {shown(_clean(judgement.base))}{commit}{seeds}{doubt}"
    sentences = [*map(messages.summary, judgement.findings), *judgement.notes]
    text = "\n".join(f"{bullet}{shown(_clean(sentence))}" for sentence in sentences)
    return "\n\n".join([title, *(layout(table) for table in _tables(judgement)), text])


def _tables(judgement: Judgement) -> list[Table]:
    groups = any(finding.by_group for finding in judgement.findings)
    columns = ["metric", "base", "candidate", "difference", "interval", "margin", "reach", "verdict", "confidence"]
    rows = [_finding(finding) for finding in judgement.findings]
    if groups:
        columns.insert(5, "by group")
        for row, finding in zip(rows, judgement.findings, strict=True):
            row.insert(5, _interval(finding.by_group))
    changes = ["base", "candidate", "difference"]
    tables = [(columns, rows), (["class, by loss of IoU", *changes], _rows(judgement.classes))]
    if judgement.images:
        tables.append((["image, by loss of mIoU", *changes], _rows(judgement.images)))
    tables.append((["cost", *changes], [_cost(change) for change in judgement.cost]))
    return tables


def _finding(finding: Finding) -> list[str]:
    scores = [f"{finding.base:.4f}", f"{finding.candidate:.4f}", f"{finding.difference:+.4f}"]
    verdict = finding.verdict.upper() if finding.verdict is Verdict.REGRESSION else finding.verdict
    level = f"{100 * (1 - finding.level):.4g} %"
    return [
        finding.criterion.name,
        *scores,
        _interval(finding.interval),
        f"{finding.criterion.margin:g}",
        f"{finding.reach:.4f}",
        verdict,
        level,
    ]


def _interval(interval: Interval | None) -> str:
    return f"{interval.low:+.4f} to {interval.high:+.4f}" if interval else "none"


def _rows(changes: Sequence[Change]) -> list[list[str]]:
    return [
        [change.name, f"{change.base:.4f}", f"{change.candidate:.4f}", f"{change.difference:+.4f}"]
        for change in changes
    ]


def _cost(change: Change) -> list[str]:
    numbers = [f"{change.base:,.0f}", f"{change.candidate:,.0f}"]
    share = f"{change.difference / change.base:+.1%}" if change.base else f"{change.difference:+,.0f}"
    return [formatting.COSTS.get(change.name, change.name), *numbers, share]


def _text_table(table: Table) -> str:
    columns, rows = table
    lines = [columns, *([_clean(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_text_line(line, widths) for line in lines)


def _text_line(line: list[str], widths: list[int]) -> str:
    first, *others = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
    return "  ".join([first, *others]).rstrip()


def _markdown_table(table: Table) -> str:
    columns, rows = table
    lines = [columns, ["---"] * len(columns), *([_escaped(_clean(cell)) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _clean(text: str) -> str:
    """The text without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _escaped(text: str) -> str:
    """Markdown that shows the text literally."""
    return "".join(
        f"\\{character}" if character in "\\|*_[]#~" else character for character in html.escape(text, quote=False)
    )


def _metric(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.criterion.name,
        "base": finding.base,
        "candidate": finding.candidate,
        "difference": finding.difference,
        "interval": _bounds(finding.interval),
        "interval_by_group": _bounds(finding.by_group),
        "level": finding.level,
        "margin": finding.criterion.margin,
        "reach": finding.reach,
        "verdict": finding.verdict,
        "from_images": finding.images,
        "from_seeds": finding.seeds,
    }


def _bounds(interval: Interval | None) -> dict[str, float] | None:
    return {"low": interval.low, "high": interval.high} if interval else None


def _change(change: Change) -> dict[str, Any]:
    return {"name": change.name, "base": change.base, "candidate": change.candidate, "difference": change.difference}
