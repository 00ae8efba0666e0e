"""The MLflow model: an ONNX file of `segline export`, run by onnxruntime on pictures and arrays.

MLflow copies this file into the model and runs it there, without this project: it imports none of it, and no torch.
Input is a column `image`, one image a row: the bytes of a PNG or JPEG file of 8 bits, or of a NumPy file (`.npy`) with
the array (height, width, channels) that the ONNX file expects. Output are `names`, those of the K classes, and
`classes`, for each image uint8 (height, width) of indices into `names`.
"""

import io
import json
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from PIL import Image, ImageOps

LARGEST = 1 << 26  # pixels
NUMPY, PNG = b"\x93NUMPY", b"\x89PNG\r\n\x1a\n"
DEPTH = 24  # the byte of a PNG file that says how many bits a sample has
MODES = {1: "L", 3: "RGB"}  # channels -> what Pillow calls such a picture
TYPES = {"float": "float32"}  # of ONNX -> of NumPy, where they differ in name

Array = npt.NDArray[Any]


class OnnxModel(PythonModel):
    """What MLflow loads. A wrong image is an MlflowException, which the server answers with status 400."""

    def load_context(self, context: PythonModelContext) -> None:
        """Opens the ONNX file."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _cores()  # by default it also pins threads to cores
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(
            context.artifacts["onnx"], options, providers=["CPUExecutionProvider"]
        )
        metadata = self.session.get_modelmeta().custom_metadata_map
        known = zip(json.loads(metadata["classes"]), json.loads(metadata["parents"]), strict=True)
        self.names = [label["name"] for number, (label, parent) in enumerate(known) if parent == number]  # no borders
        self.upright = json.loads(metadata["preparation"])["orientation"] != "stored"
        (image,) = self.session.get_inputs()
        kind = image.type.removeprefix("tensor(").removesuffix(")")
        self.dtype, self.channels = np.dtype(TYPES.get(kind, kind)), int(image.shape[2])

    def predict(self, model_input: pd.DataFrame) -> dict[str, Any]:  # type: ignore[override]  # the form without context
        """The classes of each image."""
        images = [self._image(bytes(content)) for content in model_input["image"]]
        classes = [self.session.run(["classes"], {"image": image})[0] for image in images]
        return {"names": self.names, "classes": classes}

    def _image(self, content: bytes) -> Array:
        image = _array(content) if content.startswith(NUMPY) else self._picture(content)
        if image.ndim == 2 and self.channels == 1:
            image = image[:, :, None]
        if image.ndim != 3 or image.shape[2] != self.channels or image.dtype != self.dtype or not image.size:
            expected = f"{self.dtype} (height, width, {self.channels})"
            raise _refusal(f"expected {expected}, got {image.dtype} {image.shape}")
        return np.ascontiguousarray(image)

    def _picture(self, content: bytes) -> Array:
        mode = MODES.get(self.channels) if self.dtype == np.uint8 else None
        if mode is None:
            raise _refusal(f"this model takes {self.channels} channels of {self.dtype}: send a NumPy file")
        if content.startswith(PNG) and content[DEPTH : DEPTH + 1] == b"\x10":  # Pillow would drop 8 of the 16 bits
            raise _refusal("a PNG file of 16 bits, expected 8")
        try:
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
                _require_size(picture.height, picture.width)
                shown: Image.Image = picture
                if "transparency" in picture.info:
                    shown = picture.convert("RGBA")  # and refused, like other pictures with alpha
                elif picture.mode == "P":
                    shown = picture.convert("RGB")
                if shown.mode != mode:
                    raise _refusal(f"a picture of mode {shown.mode}, expected {mode}: convert it first")
                return np.asarray(ImageOps.exif_transpose(shown) if self.upright else shown)
        except Image.DecompressionBombError:
            raise _refusal(f"too many pixels, expected at most {LARGEST}") from None
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
            raise _refusal(f"neither a PNG, a JPEG nor a NumPy file that can be read ({error})") from None


def _cores() -> int:
    """Those that this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _array(content: bytes) -> Array:
    """The array of a NumPy file, without copying more than the file has, and without pickle."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read_header(stream)
        values = np.frombuffer(content, dtype, offset=stream.tell())
        image = values.reshape(shape, order="F" if by_columns else "C")
    except Exception as error:  # noqa: BLE001 - what NumPy raises depends on where Python's tokens of the header break
        hint = "zeros at the end get lost in `inputs`: use `dataframe_records`"
        raise _refusal(f"a NumPy file that cannot be read ({error}); {hint}") from None
    if image.ndim > 1:
        _require_size(*image.shape[:2])
    return image.astype(dtype.newbyteorder("="), copy=False)


def _require_size(height: int, width: int) -> None:
    if height * width > LARGEST:
        raise _refusal(f"{width} x {height} is too many pixels, expected at most {LARGEST}")


def _refusal(problem: str) -> MlflowException:
    return MlflowException(f"image: {problem}.", error_code=INVALID_PARAMETER_VALUE)


set_model(OnnxModel())
