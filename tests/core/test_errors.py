from segline.core.errors import DataError


def test_a_message_contains_nothing_that_a_terminal_obeys():
    """A class name in somebody's metrics may contain anything."""
    error = DataError("eval.json", "iou.\x00\x1b[2J\udcff: unknown", "Fix\u2028it.")

    assert r"eval.json: iou.\x00\x1b[2J\udcff: unknown. Fix it." == str(error)
