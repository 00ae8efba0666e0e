from segline.core.errors import DataError, PipelineError


def test_a_message_contains_nothing_that_a_terminal_obeys():
    """A class name in somebody's metrics may contain anything."""
    error = DataError("eval.json", "iou.\x00\x1b[2J\udcff: unknown", "Fix\u2028it.")

    assert r"eval.json: iou.\x00\x1b[2J\udcff: unknown. Fix it." == str(error)


def test_a_name_as_long_as_a_book_is_shortened_in_its_middle():
    """As damage makes of it; a path of ordinary length stays whole."""
    path = "/".join(["folder"] * 60)
    line = str(PipelineError(path, f"unknown class '{'x' * 100_000}'", "Remove it."))

    assert f"{path}: unknown class 'xxx" in line
    assert line.endswith("x'. Remove it.")
    assert "x...x" in line
    assert len(line) < 1000
