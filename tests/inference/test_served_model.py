"""The file that MLflow runs: what it takes as an image, and that it refuses everything else in a sentence."""

import io
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segline.preprocessing.image_files import image_file, png
from tests import served

# Importing MLflow warns of things that are not ours.
pytestmark = pytest.mark.filterwarnings("ignore")

IMAGE = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)


def model(folder: Path, **form: Any) -> Any:
    from mlflow.pyfunc.model import PythonModelContext

    from segline.inference.served_model import OnnxModel

    loaded = OnnxModel()
    onnx = served.write_onnx(folder / "model.onnx", "a" * 64, **form)
    loaded.load_context(PythonModelContext({"onnx": str(onnx)}, None))
    return loaded


@pytest.fixture(scope="module")
def rgb(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return model(tmp_path_factory.mktemp("model"))


def classes(loaded: Any, *contents: bytes) -> list[np.ndarray]:
    answer = loaded.predict(pd.DataFrame({"image": contents}))
    assert list(served.NAMES) == answer["names"]
    return list(answer["classes"])


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def array(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def test_a_png_and_an_array_of_the_same_pixels_are_the_same_image(rgb):
    first, second = classes(rgb, png.encoded(IMAGE), array(IMAGE))

    assert np.array_equal(IMAGE.argmax(axis=2), first)
    assert np.array_equal(first, second)
    assert first.dtype == np.uint8


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (65, 33)])
def test_images_of_any_size_share_a_request(rgb, size):
    other = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)

    assert [IMAGE.shape[:2], size] == [one.shape for one in classes(rgb, png.encoded(IMAGE), png.encoded(other))]


@pytest.mark.parametrize("quality", [20, 75, 95])
@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_jpeg_is_decoded_as_predict_does(rgb, tmp_path, quality, sampling):
    smooth = cv2.resize(IMAGE, (101, 67), interpolation=cv2.INTER_CUBIC)
    content = saved(Image.fromarray(smooth), "JPEG", quality=quality, subsampling=sampling)
    with image_file.opened(content, tmp_path / "photo.jpg") as image:
        expected = image.read(0, 0, image.height, image.width).values

    assert np.array_equal(expected, rgb._picture(content))


def test_a_palette_is_converted_as_predict_does(rgb, tmp_path):
    content = saved(Image.fromarray(IMAGE).quantize(16), "PNG")
    with image_file.opened(content, tmp_path / "drawn.png") as image:
        expected = image.read(0, 0, image.height, image.width).values

    assert np.array_equal(expected, rgb._picture(content))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_a_picture_is_turned_upright_unless_the_model_takes_pixels_as_stored(rgb, tmp_path, form, tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    content = saved(Image.fromarray(IMAGE), form, exif=exif)
    with image_file.opened(content, tmp_path / f"photo.{form.lower()}") as image:
        upright = image.read(0, 0, image.height, image.width).values
    with image_file.opened(content, tmp_path / f"photo.{form.lower()}", turn=False) as image:
        as_stored = image.read(0, 0, image.height, image.width).values

    assert np.array_equal(upright, rgb._picture(content))
    assert np.array_equal(as_stored, model(tmp_path, turned="stored")._picture(content))


def test_gray_pictures_are_for_a_model_of_one_channel(tmp_path):
    gray = model(tmp_path, channels=1)
    plain = IMAGE[:, :, 0]
    results = classes(gray, png.encoded(plain), array(plain), array(plain[:, :, None]))

    assert all(np.array_equal(np.zeros((7, 9)), one) for one in results)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("UINT16", ">u2"), ("UINT16", "<u2"), ("INT16", "i2"), ("UINT32", "u4"), ("INT32", ">i4"), ("FLOAT", ">f4")],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_many_bands_of_other_types_come_as_arrays_in_any_order_of_bytes(tmp_path, name, dtype, order):
    values = np.asarray(np.random.default_rng(2).integers(0, 9000, (4, 5, 6)), dtype, order=order)
    (result,) = classes(model(tmp_path, channels=6, dtype=name), array(values))

    assert np.array_equal(values.argmax(axis=2), result)


def large(width: int, height: int) -> bytes:
    """A PNG file that claims this size: the chunk is right, the pixels are not there."""
    content = bytearray(png.encoded(IMAGE))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


RGBA = Image.fromarray(IMAGE).convert("RGBA")
REFUSED = {
    "nothing": (b"", "neither a PNG, a JPEG nor a NumPy file"),
    "text": (b"hello", "neither a PNG, a JPEG nor a NumPy file"),
    "another format": (saved(RGBA, "TIFF"), "neither a PNG, a JPEG nor a NumPy file"),
    "half a picture": (png.encoded(IMAGE)[:-60], "neither a PNG, a JPEG nor a NumPy file"),
    "half a photo": (saved(Image.fromarray(IMAGE), "JPEG")[:-60], "neither a PNG, a JPEG nor a NumPy file"),
    "alpha": (saved(RGBA, "PNG"), "a picture of mode RGBA, expected RGB"),
    "a clear colour": (saved(Image.fromarray(IMAGE), "PNG", transparency=(1, 2, 3)), "of mode RGBA, expected RGB"),
    "a clear index": (saved(Image.fromarray(IMAGE).quantize(4), "PNG", transparency=0), "of mode RGBA, expected RGB"),
    "gray": (png.encoded(IMAGE[:, :, 0]), "a picture of mode L, expected RGB"),
    "ink": (saved(Image.fromarray(IMAGE).convert("CMYK"), "JPEG"), "a picture of mode CMYK, expected RGB"),
    "16 bits": (cv2.imencode(".png", IMAGE.astype(np.uint16))[1].tobytes(), "a PNG file of 16 bits, expected 8"),
    "too large": (large(1 << 14, 1 << 14), "too many pixels, expected at most 67108864"),
    "a bomb": (large(1 << 30, 1 << 30), "too many pixels, expected at most 67108864"),
    "floats": (array(IMAGE.astype(float)), "expected uint8 (height, width, 3), got float64 (7, 9, 3)"),
    "two channels": (array(IMAGE[:, :, :2]), "expected uint8 (height, width, 3), got uint8 (7, 9, 2)"),
    "a batch": (array(IMAGE[None]), "expected uint8 (height, width, 3), got uint8 (1, 7, 9, 3)"),
    "no pixels": (array(IMAGE[:0]), "expected uint8 (height, width, 3), got uint8 (0, 9, 3)"),
    "objects": (array(np.array([[[None]]])), "a NumPy file that cannot be read"),
    "half an array": (array(IMAGE)[:-1], "zeros at the end get lost in `inputs`: use `dataframe_records`"),
    "a large array": (
        array(np.empty((1 << 14, 1 << 14, 0), np.uint8)),
        "16384 x 16384 is too many pixels, expected at most 67108864",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_anything_else_is_refused_in_a_sentence_which_a_server_answers_with_400(rgb, kind):
    from mlflow.exceptions import MlflowException

    content, problem = REFUSED[kind]
    with pytest.raises(MlflowException) as refused:
        classes(rgb, content)

    assert problem in refused.value.message
    assert 400 == refused.value.get_http_status_code()


@pytest.mark.parametrize(("count", "threads"), [(6, 6), (None, 1)])
def test_it_computes_with_all_cores_where_the_system_does_not_say_which(tmp_path, monkeypatch, count, threads):
    """As on macOS."""
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: count)

    assert threads == model(tmp_path).session.get_session_options().intra_op_num_threads


def test_a_model_of_many_bands_says_how_to_send_them(tmp_path):
    with pytest.raises(Exception, match="this model takes 5 channels of uint16: send a NumPy file"):
        classes(model(tmp_path, channels=5, dtype="UINT16"), png.encoded(IMAGE))


WHOLE = [png.encoded(IMAGE), saved(Image.fromarray(IMAGE), "JPEG"), array(IMAGE)]


@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=8), st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_files_are_decoded_or_refused_and_nothing_else_is_raised(rgb, content, changes, data):
    from mlflow.exceptions import MlflowException

    damaged = bytearray(content[: data.draw(st.integers(0, len(content)))])
    for place, value in changes:
        if damaged:
            damaged[place % len(damaged)] = value
    with suppress(MlflowException):
        (result,) = classes(rgb, bytes(damaged))
        assert result.dtype == np.uint8
