"""What the outputs of a network mean. N images, K classes, H x W pixels.

    softmax    K logits, one per class
    sigmoid    one logit z, that of class 1 of two (background, object)

z is taken as the pair (0, z): softmax((0, z))[1] = sigmoid(z), so binary cross entropy is cross entropy on the pair,
and sigmoid(z) > 0.5 is its argmax. Losses, scores and predictions therefore always see K logits.
"""

import torch
from torch import Tensor

from segline.core.errors import ParameterError, suggestion

NAMES = ("softmax", "sigmoid")
KEY = "params.yaml: model.head"


def require_known(head: str) -> None:
    """Raises ParameterError unless `head` is one of the two."""
    if head not in NAMES:
        problem = f"expected {' or '.join(NAMES)}, got {head!r}"
        raise ParameterError(KEY, problem, suggestion(head, NAMES, "Write one of them."))


def outputs(head: str, num_classes: int) -> int:
    """How many outputs a network has for K classes. Raises ParameterError if the head does not fit them."""
    require_known(head)
    if head == "softmax":
        return num_classes
    if num_classes != 2:
        problem = f"sigmoid is for two classes, background and object, and these data have {num_classes}"
        raise ParameterError(KEY, problem, "Write softmax.")
    return 1


def class_logits(outputs_nkhw: Tensor) -> Tensor:
    """One logit per class, (N, K, H, W), of the outputs of a network: a single output is the z of the pair (0, z)."""
    if outputs_nkhw.shape[1] > 1:
        return outputs_nkhw
    return torch.cat([torch.zeros_like(outputs_nkhw), outputs_nkhw], dim=1)
