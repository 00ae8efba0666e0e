"""A single logit z is the pair (0, z): the loss is binary cross entropy, the class is that of z > 0."""

import pytest
import torch
import torch.nn.functional as F

from segline.core.errors import ParameterError
from segline.model import output_head
from segline.training import losses


def binary(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (N, 1, H, W), one-hot targets (N, 2, H, W), a third void, and which pixels are valid (N, 1, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(3, 1, 4, 6, generator=generator)
    kind = torch.randint(0, 3, (3, 1, 4, 6), generator=generator)
    return logits, torch.cat([kind == 0, kind == 1], dim=1).float(), kind < 2


def log_p(logits: torch.Tensor) -> torch.Tensor:
    return F.log_softmax(output_head.class_logits(logits), dim=1)


@pytest.mark.parametrize("seed", range(5))
def test_cross_entropy_on_the_pair_is_binary_cross_entropy(seed):
    logits, onehot, valid = binary(seed)
    expected = F.binary_cross_entropy_with_logits(logits[valid], onehot[:, 1:][valid])

    assert not valid.all()
    torch.testing.assert_close(losses.cross_entropy(log_p(logits), onehot), expected)


def test_its_gradient_is_the_same_and_void_gets_none():
    logits, onehot, valid = binary(9)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    losses.cross_entropy(log_p(ours), onehot).backward()
    F.binary_cross_entropy_with_logits(theirs[valid], onehot[:, 1:][valid]).backward()

    torch.testing.assert_close(ours.grad, theirs.grad)
    assert not ours.grad[~valid].any()


def test_the_probability_of_the_object_is_the_sigmoid():
    logits, *_ = binary(1)
    pair = output_head.class_logits(logits)

    torch.testing.assert_close(pair.softmax(dim=1)[:, 1:], logits.sigmoid())
    assert torch.equal(pair.argmax(dim=1, keepdim=True) == 1, logits > 0)


def test_several_outputs_are_left_as_they_are():
    logits = torch.randn(2, 3, 4, 5)

    assert output_head.class_logits(logits) is logits


def test_a_head_says_how_many_outputs_it_needs():
    assert (12, 2, 1) == (
        output_head.outputs("softmax", 12),
        output_head.outputs("softmax", 2),
        output_head.outputs("sigmoid", 2),
    )


@pytest.mark.parametrize("num_classes", [1, 3, 12])
def test_sigmoid_is_refused_for_other_than_two_classes(num_classes):
    with pytest.raises(ParameterError) as caught:
        output_head.outputs("sigmoid", num_classes)

    assert (
        "params.yaml: model.head: sigmoid is for two classes, background and object, "
        f"and these data have {num_classes}. Write softmax."
    ) == str(caught.value)


def test_an_unknown_head_names_the_nearest():
    with pytest.raises(ParameterError, match=r"model.head: .* got 'sigmoidd'. Did you mean sigmoid\?"):
        output_head.require_known("sigmoidd")
