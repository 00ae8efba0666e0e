"""One view gives the prediction of evaluate; several give the mean of their probabilities."""

import numpy as np
import torch
from torch import nn

from segline.inference import test_time_augmentation
from segline.model import forward


def classes(views: list[torch.Tensor], height: int, width: int) -> np.ndarray:
    return forward.classes(test_time_augmentation.merged(views, height, width)[None])[0]


def test_one_view_is_predicted_as_evaluate_does():
    logits = torch.randn(4, 6, 9)

    assert (forward.classes_at(logits, 13, 11) == classes([logits], 13, 11)).all()


def test_several_views_are_the_class_of_highest_mean_probability():
    """Compared with a loop over pixels; a confident view outweighs two unsure ones."""
    views = [torch.log(torch.tensor(p)[:, None, None]) for p in ([0.4, 0.6], [0.45, 0.55], [0.9, 0.1])]
    many = [torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    found = classes(many, 3, 4)

    assert classes(views[:2], 1, 1).item() == 1
    assert classes(views, 1, 1).item() == 0
    for y in range(3):
        for x in range(4):
            mean = sum(torch.softmax(view[:, y, x].double(), 0) for view in many)
            assert int(mean.argmax()) == found[y, x]


def test_views_of_other_sizes_are_resized_before_they_are_averaged():
    small, large = torch.zeros(2, 2, 2), torch.zeros(2, 8, 8)
    small[1, :, 0], small[1, :, 1], large[1, :, :4], large[1, :, 4:] = -9, 9, -9, 9

    assert [[0, 0, 1, 1]] * 4 == classes([small, large], 4, 4).tolist()


def test_the_mirrored_view_is_mirrored_back():
    """A network without symmetry gives other logits for the mirrored image."""
    shift = nn.Conv2d(1, 2, 3, padding=1)
    inputs = torch.randn(2, 1, 5, 7)
    plain, mirrored = test_time_augmentation.views(shift, inputs, flip=True)

    assert torch.equal(plain, forward.logits(shift, inputs))
    assert torch.equal(mirrored, forward.logits(shift, inputs.flip(3)).flip(3))
    assert len(test_time_augmentation.views(shift, inputs, flip=False)) == 1
