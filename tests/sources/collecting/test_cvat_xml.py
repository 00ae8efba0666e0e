"""The XML of CVAT: images in one pass, shapes one image at a time, and nothing that a file defines itself."""

import contextlib
import random
import tracemalloc
from pathlib import Path

import pytest

from segline.core.errors import DataError
from segline.sources.collecting import cvat_xml
from tests.sweeps import mutations

RECORDED = Path(__file__).parents[1] / "tools" / "cvat" / "made" / "annotations.xml"
BOX = '<box label="car" xtl="1" ytl="2" xbr="3" ybr="4" z_order="0"/>'
IMAGE = '<image id="0" name="a.png" width="16" height="12">'


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "annotations.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path) -> int:
    """How many shapes a file has."""
    with cvat_xml.opened(path) as annotations:
        return sum(len(annotations.shapes(image)) for image in annotations.images)


def problem(path: Path) -> str:
    """Why a file is refused, in one line."""
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value).isprintable()
    return str(error.value)


def test_images_have_their_shapes_in_the_order_of_the_file(tmp_path):
    content = f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><image name="no image"/></meta>
<image id="0" name="é&amp;.png" subset="Train" width="16" height="12">{BOX}<polyline label="x"/><tag label="y"/></image>
<image id="1" name="b.png" width="8" height="9"/>
<image id="2" name="c.png" width="8" height="9"></image>
<image id="3" name="d.png" width="8" height="9"><!-- /> --><skeleton label="s"><points label="p"/></skeleton>
{BOX}</image></annotations>"""

    with cvat_xml.opened(written(tmp_path, content)) as annotations:
        images = annotations.images
        names = [[name for name, _ in annotations.shapes(image)] for image in reversed(images)]

    assert ["é&.png", "b.png", "c.png", "d.png"] == [image.name for image in images]
    assert ("Train", 12, 16) == (images[0].subset, images[0].height, images[0].width)
    assert [["skeleton", "box"], [], [], ["box", "polyline"]] == names


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no element found"),
        ("<annotations>", "no element found"),
        ("<annotations><a></annotations>", "mismatched tag"),
        ("<html></html>", "<html>, expected <annotations>"),
        ("<annotations><track/></annotations>", "tracks of a video"),
        ('<annotations><image name="a" width="1"/></annotations>', "an image without height"),
        ('<annotations><image name="a" width="1" height="x"/></annotations>', "height is 'x', expected a whole number"),
        ('<annotations><image name="a" width="1" height="1234567890"/></annotations>', "height is '1234567890'"),
        ("<annotations>" + "<a>" * 60 + "</a>" * 60 + "</annotations>", "more than 50 levels"),
        ("<!DOCTYPE annotations><annotations/>", "a document type"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>', "a document type"),
        ("<annotations>&x;</annotations>", "undefined entity"),
        (f"<annotations>{IMAGE}{BOX}</image></annotations>".encode("utf-16"), "image 'a.png': "),
        ('<?xml version="1.0" encoding="latin-1"?><annotations>é</annotations>'.encode("latin-1"), "invalid token"),
    ],
)
def test_a_file_that_is_no_such_xml_is_refused_in_one_line(content, said, tmp_path):
    assert said in problem(written(tmp_path, content))


def test_entities_that_grow_without_bound_are_refused_before_they_grow(tmp_path):
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 20))
    laughs = f'<!DOCTYPE a [<!ENTITY e0 "ha">{levels}]><annotations>&e19;</annotations>'

    assert "a document type, which could define entities" in problem(written(tmp_path, laughs))


def test_a_tag_a_file_and_an_image_above_their_bounds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cvat_xml, "MAX_TAG", 1000)
    monkeypatch.setattr(cvat_xml, "_CHUNK", 100)
    path = written(tmp_path, f'<annotations>{IMAGE}<box label="{"x" * 5000}"/></image></annotations>')
    assert "a tag of more than 1000 bytes" in problem(path)

    path = written(tmp_path, f"<annotations>{IMAGE}{BOX * 100}</image></annotations>")
    monkeypatch.setattr(cvat_xml, "MAX_OBJECTS", 99)
    assert "image 'a.png': more than 99 shapes" in problem(path)
    monkeypatch.setattr(cvat_xml, "MAX_IMAGE", 1000)
    assert "expected at most 1000" in problem(path)
    monkeypatch.setattr(cvat_xml, "MAX_BYTES", 1000)
    assert "expected at most 1000" in problem(path)


def test_memory_does_not_grow_with_shapes(tmp_path):
    """20 MB of boxes in 200 images."""
    image = IMAGE + BOX * 1500 + "</image>"
    path = written(tmp_path, "<annotations>" + image * 200 + "</annotations>")
    size = path.stat().st_size

    tracemalloc.start()
    count = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 300_000
    assert size > 17 << 20
    assert peak < 6 << 20


@pytest.mark.parametrize("seed", range(2))
def test_mutated_files_are_read_or_refused(seed, tmp_path):
    draws = random.Random(seed)
    for _ in range(200):
        path = written(tmp_path, mutations.of_text(RECORDED.read_bytes(), draws))
        with contextlib.suppress(DataError):
            read(path)
