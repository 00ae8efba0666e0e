"""The warnings of libjpeg are caught, and no message of Python is lost."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from segline.core.errors import DataError
from segline.preprocessing.image_files import decoder_warnings


@pytest.mark.parametrize(
    ("said", "damage"),
    [
        ("", None),
        ("libpng warning: iCCP: known incorrect sRGB profile", None),
        (
            "Corrupt JPEG data: 7 extraneous bytes before marker 0xd9\nmore",
            "Corrupt JPEG data: 7 extraneous bytes before marker 0xd9",
        ),
        ("x\nPremature end of JPEG file\n", "Premature end of JPEG file"),
    ],
)
def test_only_what_libjpeg_says_of_its_data_is_damage(said, damage):
    assert damage == decoder_warnings.damage(said)


DAMAGE = "Corrupt JPEG data: premature end of data segment"


class Decoders:
    """Files by name with the warning that decoding each gives, or None for one that cannot be decoded."""

    def __init__(self, warnings: dict[str, str | None]) -> None:
        self.warnings, self.text = warnings, ""

    def decode(self, name: str) -> None:
        warning = self.warnings[name]
        self.text += DAMAGE if warning is None else warning
        if warning is None:
            raise DataError(name, "damaged: the pixels cannot be decoded", "Export it again.")

    def heard(self) -> str:
        text, self.text = self.text, ""
        return text

    def damaged(self) -> list[str]:
        decoders = [(Path(name), partial(self.decode, name)) for name in self.warnings]
        return [problem.where for problem in decoder_warnings.damaged(decoders, self.heard)]


def test_each_file_that_was_decoded_though_damaged_is_reported():
    decoders = Decoders({"a.jpg": "", "b.jpg": DAMAGE, "c.png": "libpng warning: iCCP", "d.jpg": DAMAGE})
    decoders.text = f"libpng warning: iCCP\n{DAMAGE}\n{DAMAGE}\n"

    assert ["b.jpg", "d.jpg"] == decoders.damaged()


def test_a_file_that_cannot_be_decoded_is_not_reported_a_second_time():
    decoders = Decoders({"a.jpg": None, "b.jpg": ""})
    decoders.text = DAMAGE

    assert [] == decoders.damaged()


def test_without_a_report_of_damage_nothing_is_decoded_again():
    decoders = Decoders({"a.jpg": None})
    decoders.text = "libpng warning: iCCP"

    assert ([], "") == (decoders.damaged(), decoders.text)


def test_muffled_hears_the_decoder_and_lets_python_speak(tmp_path):
    """Checked in a process of its own, since it moves file descriptor 2."""
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    content = cv2.imencode(".jpg", pixels)[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) * 3 // 4] + b"\xff\xd9")
    code = (
        "import sys, cv2\nfrom pathlib import Path\n"
        "from segline.preprocessing.image_files import decoder_warnings, image_file\n"
        "path = Path('a.jpg')\n"
        "with decoder_warnings.muffled() as heard:\n"
        "    with image_file.opened(path, path) as image: image.read(0, 0, 1, 1)\n"
        "    print('inside', file=sys.stderr)\n"
        "    print(heard().startswith('Corrupt JPEG data'), heard() == '')\n"
        "print('after', file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "True True\n"
    assert done.stderr == "inside\nafter\n"


def test_importing_images_does_not_import_torch():
    code = "import sys, segline.preprocessing.images; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
