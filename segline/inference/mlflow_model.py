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


def log(onnx: Path, name: str | None) -> None:
    """Logs the file, registers it if `name` is given, and says so. Raises PipelineError; see `mlflow_registry.log`."""
    import onnxruntime  # noqa: PLC0415 - of the extra `onnx`

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    model_sha256 = session.get_modelmeta().custom_metadata_map["model_sha256"]
    (image,) = session.get_inputs()
    kind = image.type.removeprefix("tensor(").removesuffix(")")
    example = example_image(np.dtype(kind.replace("float", "float32")), image.shape[2])
    requirements = [f"{package}=={version(package)}" for package in PACKAGES]
    done = mlflow_registry.log(onnx, model_sha256, code=CODE, example=example, requirements=requirements, name=name)
    known = "" if done.logged else " already"
    console.say(f"export: {onnx} is{known} a model of the run {done.run} in MLflow")
    if name is not None:
        is_new = "" if done.registered else ", as before: this model has that version already"
        console.say(f"export: {name} version {done.version}{is_new}")


def example_image(dtype: np.dtype[np.generic], channels: int) -> bytes:
    """A file as `served_model` takes it, with a ramp of gray: a PNG if that holds such samples, or a NumPy file."""
    ramp = np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1).repeat(channels, axis=2).astype(dtype)
    if dtype == np.uint8 and channels in (1, 3):
        return png.encoded(ramp)
    stream = io.BytesIO()
    np.save(stream, ramp)
    return stream.getvalue()
