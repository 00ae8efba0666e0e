"""`segline export --log` and `--register`: the ONNX file becomes an MLflow model of the run that trained it.

The hash of the model file, which the ONNX file names, finds the run; see `segline.monitoring.mlflow_registry`.
"""

import io
from importlib.metadata import version
from pathlib import Path

import numpy as np

from segline.monitoring import console, mlflow_registry
from segline.preprocessing.image_files import png

CODE = Path(__file__).with_name("served_model.py")
PACKAGES = ("mlflow", "numpy", "onnxruntime", "pandas", "pillow")  # that the code imports
HEIGHT, WIDTH = 48, 64  # of the example


def log(path: Path, name: str | None) -> None:
    """Logs the file, registers it if `name` is given, and says so. Raises PipelineError; see `mlflow_registry.log`."""
    import onnx  # noqa: PLC0415 - of an extra

    content = onnx.load(path)
    (model_sha256,) = (entry.value for entry in content.metadata_props if entry.key == "model_sha256")
    image = content.graph.input[0].type.tensor_type
    dtype, channels = onnx.helper.tensor_dtype_to_np_dtype(image.elem_type), image.shape.dim[2].dim_value
    example = example_image(dtype, channels)
    requirements = [f"{package}=={version(package)}" for package in PACKAGES]
    done = mlflow_registry.log(path, model_sha256, code=CODE, example=example, requirements=requirements, name=name)
    known = "" if done.logged else " already"
    console.say(f"export: {path} is{known} a model of the run {done.run} in MLflow")
    if name is not None:
        console.say(f"export: {name} version {done.version}{_beside(done)}")


def _beside(done: mlflow_registry.Logged) -> str:
    if not done.registered:
        return ", as before: this export has that version already"
    return "" if done.other is None else f": the model of version {done.other}, exported or served otherwise"


def example_image(dtype: np.dtype[np.generic], channels: int) -> bytes:
    """A file as `served_model` takes it, with a ramp of gray: a PNG if that holds such samples, or a NumPy file."""
    ramp = np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1).repeat(channels, axis=2).astype(dtype)
    if dtype == np.uint8 and channels in (1, 3):
        return png.encoded(ramp)
    stream = io.BytesIO()
    np.save(stream, ramp)
    return stream.getvalue()
