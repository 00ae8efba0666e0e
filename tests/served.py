"""An ONNX file of the form that `segline export` writes, made at once: the class is that of the brightest channel."""

import json
from pathlib import Path

import onnx
from onnx import TensorProto, helper

NAMES = ("sky", "road", "car")


def write_onnx(
    path: Path, model_sha256: str, *, channels: int = 3, dtype: str = "UINT8", turned: str = "check"
) -> Path:
    """Input `image` (height, width, channels); outputs `classes` and `logits`; the metadata that a server reads."""
    kind = getattr(TensorProto, dtype)
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["logits"], perm=[2, 0, 1]),
        helper.make_node("ArgMax", ["logits"], ["places"], axis=0, keepdims=0),
        helper.make_node("Cast", ["places"], ["classes"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "segline",
        [helper.make_tensor_value_info("image", kind, ["height", "width", channels])],
        [
            helper.make_tensor_value_info("classes", TensorProto.UINT8, ["height", "width"]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [channels, "height", "width"]),
        ],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    metadata = {
        "classes": json.dumps([{"name": name, "rgb": [0, 0, 0]} for name in NAMES]),
        "parents": json.dumps([*range(len(NAMES))]),
        "preparation": json.dumps({"orientation": turned}),
        "model_sha256": model_sha256,
    }
    helper.set_model_props(content, metadata)
    onnx.save(content, path)
    return path
