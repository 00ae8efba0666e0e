"""`train.compile`: the same training in compiled code, or one line if the compiler is missing."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from segline.model import randomness
from segline.networks import unet
from segline.training import loop
from segline.training.augmentation import plan, samples
from segline.training.state import State
from tests import tiny
from tests.training import test_loop

ROOT = Path(__file__).parents[2]
# Where torch's own folder has a space in its path, its compiler cuts the path there, and `require_compiler` says no.
COMPILES = shutil.which(os.environ.get("CXX", "g++")) and " " not in torch.__file__
REASON = "needs a C++ compiler, and torch in a path without a space"
PROBE = """
import torch
from segline.monitoring import console; from segline.model import device
console.run(lambda _=None: device.require_compiler(torch.device("cpu")))
"""


def trained(dropout: float = 0.0, **changes: object) -> State:
    """Two epochs of ten samples in batches of four; the last batch is smaller."""
    section = test_loop.with_(epochs=2, ema=0.5, **changes)
    randomness.deterministic(section.seed)
    network = unet.build(unet.Section(width=4, depth=1, norm="batch", dropout=dropout), 1, test_loop.K)
    state = loop.start(network.to(memory_format=torch.channels_last), section, 10)
    shown = samples.Augmented(test_loop.samples(10), plan.Section(**tiny.PARAMETERS["augment"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own imports are deprecated by torch
        list(loop.fit(state, section, shown, test_loop.samples(5, seed=1)))
    return state


@pytest.mark.slow
@pytest.mark.skipif(not COMPILES, reason=REASON)
def test_a_compiled_network_trains_like_the_plain_one_and_keeps_its_names():
    plain, compiled = trained(), trained(compile=True)

    assert list(plain.best) == list(compiled.best) == list(compiled.network.state_dict())
    for one, other in zip(plain.history, compiled.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(not COMPILES, reason=REASON)
def test_a_compiled_training_gives_the_same_bytes_twice():
    """Dropout too, whose draws are compiled in, whether the second run compiles again or uses torch's cache."""
    one = trained(dropout=0.2, compile=True)
    torch.compiler.reset()
    other = trained(dropout=0.2, compile=True)

    assert test_loop.contents(one.network) == test_loop.contents(other.network)
    assert test_loop.contents(one.kept) == test_loop.contents(other.kept)
    assert one.history == other.history


def probe(**environment: str) -> subprocess.CompletedProcess[str]:
    """`require_compiler` in another process."""
    known = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", PROBE], env=known, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_without_a_compiler_one_line_says_so(tmp_path):
    """Even if torch has cached the compiled probe: it has not cached that of the network."""
    if COMPILES:
        assert 0 == probe(TORCHINDUCTOR_CACHE_DIR=str(tmp_path)).returncode
    process = probe(TORCHINDUCTOR_CACHE_DIR=str(tmp_path), CXX="no-such-compiler")

    assert 1 == process.returncode
    assert process.stderr.startswith("error: params.yaml: train.compile: true, but torch.compile fails here (")
    assert process.stderr.endswith("and, for a GPU, Triton.\n")
    assert 1 == process.stderr.count("\n")
