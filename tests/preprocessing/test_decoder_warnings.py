"""What libjpeg says is heard, and nothing that Python says is lost."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from segline.preprocessing import decoder_warnings


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


def test_muffled_hears_the_decoder_and_lets_python_speak(tmp_path):
    """Checked in a process of its own, since it moves file descriptor 2."""
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    content = cv2.imencode(".jpg", pixels)[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) * 3 // 4] + b"\xff\xd9")
    code = (
        "import sys, cv2\nfrom pathlib import Path\nfrom segline.preprocessing import decoder_warnings, images\n"
        "content = images.read(Path('a.jpg'))\n"
        "with decoder_warnings.muffled() as heard:\n"
        "    images.decode_image(content, Path('a.jpg'), 3)\n"
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
