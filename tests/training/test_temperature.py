"""The temperature is that of the lowest cross entropy, and a logit that is off by a factor is put right."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from segline.dataset import onehot
from segline.model import batches
from segline.model.checkpoint import COLDEST, HOTTEST
from segline.training import temperature


def drawn(factor: float, count: int = 40_000, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (K, M) that are `factor` times those by which the true classes are drawn."""
    generator = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(classes, count, generator=generator)
    truth = torch.multinomial(honest.softmax(dim=0).T, 1, generator=generator)[:, 0]
    return honest * factor, truth


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_logits_that_are_off_by_a_factor_are_divided_by_it(factor):
    assert temperature.fitted(*drawn(factor)) == pytest.approx(factor, rel=0.03)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_no_temperature_of_a_grid_has_a_lower_cross_entropy(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(3, 50, generator=generator, dtype=torch.float64)
    truth = torch.randint(3, (50,), generator=generator)

    def loss(value: float) -> float:
        return float(F.cross_entropy(logits.T / value, truth))

    assert loss(temperature.fitted(logits, truth)) <= min(map(loss, np.geomspace(COLDEST, HOTTEST, 200))) + 1e-6


def test_a_network_that_is_always_right_or_always_wrong_gets_the_end_of_the_range():
    logits = torch.tensor([[5.0, -5.0], [-5.0, 5.0]])

    assert COLDEST == temperature.fitted(logits, torch.tensor([0, 1]))
    assert HOTTEST == temperature.fitted(logits, torch.tensor([1, 0]))


class Scaled(nn.Module):
    """Logits that are the bytes of the image, times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.factor


def samples(images: int = 6) -> batches.Samples:
    """Images (H, W, 3) of noise whose bytes are the logits of their classes; a third of the pixels is void."""
    draws = np.random.default_rng(1)
    pixels = draws.integers(0, 256, (images, 20, 30, 3), np.uint8)
    honest = torch.from_numpy((pixels - 127.5) / 127.5 * 3).softmax(dim=-1)
    classes = torch.multinomial(honest.flatten(0, 2), 1, generator=torch.Generator().manual_seed(2))
    labels = classes.view(pixels.shape[:3]).numpy().astype(np.uint8)
    labels[:, ::3] = onehot.VOID
    return batches.load(pixels, onehot.pack(labels, 3), 3, torch.device("cpu"))


def test_only_labelled_pixels_count_and_batches_do_not_matter():
    val = samples()
    found = [temperature.of_network(Scaled(6.0), val, size, [0, 1, 2], 1) for size in (1, 4, 6)]

    assert [found[0]] * 3 == found
    assert found[0] == pytest.approx(2.0, rel=0.1)


def test_of_a_large_split_the_same_pixels_are_drawn_whatever_the_batches(monkeypatch):
    monkeypatch.setattr(temperature, "MOST", 3 * 1000)
    whole, few = samples(), [temperature.of_network(Scaled(6.0), samples(), size, [0, 1, 2], 1) for size in (1, 4)]

    assert few[0] == few[1]
    assert few[0] == pytest.approx(2.0, rel=0.25)
    assert few[0] != temperature.of_network(Scaled(6.0), whole, 4, [0, 1, 2], 2)


def test_a_border_counts_as_its_class():
    """Classes 1 and 2 are one: as if the network had given their joint probability."""
    val = samples()
    (inputs, truth) = next(batches.in_order(val, 6, batches.MEAN, batches.STD))
    labelled, classes = truth.max(dim=1)
    logits = (inputs * 6.0).movedim(1, 0)
    joint = torch.stack([logits[0], torch.logaddexp(logits[1], logits[2])])[:, labelled > 0]
    expected = temperature.fitted(joint, classes[labelled > 0].clamp(max=1))

    assert expected == temperature.of_network(Scaled(6.0), val, 6, [0, 1, 1], 1)
