"""The page of a cross-validation shows every fold, what is undefined, and no name as markup."""

import re

from segline.reproducibility import crossvalidation_page

BOUND = {"low": 0.5, "high": 0.75}
CONTENT = {
    "folds": [
        {"images": 7, "groups": 3, "scores": [{"seed": 1, "accuracy": 0.625, "miou": 0.5, "interval": {}}]},
        {
            "images": 8,
            "groups": 4,
            "scores": [{"seed": 1, "accuracy": 0.875, "miou": 0.75, "interval": {"miou": BOUND}}],
        },
    ],
    "pooled": {"accuracy": 0.8125, "miou": 0.6875},
    "mean": {"accuracy": {"value": 0.75, **BOUND}, "miou": {"value": 0.625, **BOUND}},
    "deviation": {"miou": {"fold": 0.125, "image": 0.0625}},
}


def rows(page: str) -> list[str]:
    """The text of each row of a table."""
    found = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).replace("\xa0", " ").split()) for row in found]


def test_each_score_is_in_its_row():
    shown = rows(crossvalidation_page.render(CONTENT, "toy"))

    assert "Pixel accuracy 75.0 % (50.0 % to 75.0 %) 81.2 % - - -" in shown
    assert "mIoU 62.5 % (50.0 % to 75.0 %) 68.8 % - 12.5 % 6.2 %" in shown
    assert "1 7 3 1 62.5 % 50.0 %" in shown
    assert "2 8 4 1 87.5 % 75.0 % (50.0 % to 75.0 %)" in shown


def test_equal_scores_give_equal_pages_and_a_name_is_no_markup():
    page = crossvalidation_page.render(CONTENT, "<b>toy</b>")

    assert page == crossvalidation_page.render(CONTENT, "<b>toy</b>")
    assert "<b>toy" not in page
    assert "&lt;b&gt;toy" in page
