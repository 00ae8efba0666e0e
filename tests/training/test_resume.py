"""A training that resumes from its file ends like one never interrupted; other trainings ignore the file."""

import importlib.metadata
import itertools
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from segline.core.errors import IntegrityError
from segline.model import batches, randomness
from segline.networks import unet
from segline.training import loop, optim, resume
from segline.training.augmentation import plan
from segline.training.augmentation.samples import Augmented
from segline.training.sampling import RareClasses
from segline.training.state import State
from tests import tiny

EPOCHS = 5
OFF = plan.Section.model_validate(tiny.PARAMETERS["augment"])


def section(**changes) -> loop.Section:
    return loop.Section.model_validate(tiny.PARAMETERS["train"] | {"epochs": EPOCHS} | changes)


def samples(count: int) -> batches.Samples:
    """Random images of two classes."""
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
    onehot = (1 + (images[..., :1] > 127)).astype(np.uint8)
    return batches.load(images, onehot, 2, torch.device("cpu"))


class WithEncoder(nn.Module):
    """A minimal network with an encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.encoder(images))
        return logits


def begun(rules: loop.Section) -> State:
    """A fresh state, as the train stage makes it."""
    randomness.deterministic(rules.seed)
    built = unet.build(unet.Section(width=4, depth=1, norm="batch", dropout=0.5), 3, 2)
    network = WithEncoder() if rules.frozen_epochs or rules.encoder_rate != 1 else built
    network.to(memory_format=torch.channels_last)
    return loop.start(network, rules, num_samples=6)


def advance(state: State, rules: loop.Section, epochs: int = EPOCHS, rare: RareClasses | None = None) -> None:
    strengths = OFF.model_copy(update={"noise": 9.0, "cut_mix": 0.5}) if rare else OFF
    fitting = loop.fit(state, rules, Augmented(samples(6), strengths, rare), samples(2))
    for _ in itertools.islice(fitting, epochs):
        pass


def everything(state: State) -> list[object]:
    """History, and the bytes of every tensor."""
    slots = state.optimizer.state_dict()["state"]
    tables = [state.network.state_dict(), state.kept.state_dict(), state.best, *(slots[i] for i in sorted(slots))]
    return [state.history, *({name: tensor.numpy().tobytes() for name, tensor in table.items()} for table in tables)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def assert_resumes_exactly(rules: loop.Section, rare: RareClasses | None = None) -> None:
    whole = begun(rules)
    advance(whole, rules, rare=rare)
    first = begun(rules)
    advance(first, rules, epochs=2, rare=rare)
    resume.write("key", first)
    second = begun(rules)
    torch.manual_seed(99)  # the global generator is not part of it

    assert resume.restore("key", second)
    assert everything(first) == everything(second)
    advance(second, rules, rare=rare)
    assert everything(whole) == everything(second)


@pytest.mark.parametrize("schedule", optim.Schedule.__args__)
@pytest.mark.parametrize("optimizer", optim.Optimizer.__args__)
def test_it_resumes_exactly_with_every_optimizer_and_schedule(optimizer, schedule):
    assert_resumes_exactly(section(optimizer=optimizer, schedule=schedule))


@pytest.mark.parametrize("changes", [{"ema": 0.9}, {"keep": "last"}, {"clip_norm": 0.1}, {"precision": "bfloat16"}])
def test_it_resumes_exactly_with(changes):
    assert_resumes_exactly(section(**changes))


def test_it_resumes_exactly_with_samples_drawn_for_rare_classes():
    """Row 2 alone has class 1: which samples show it, and how they are changed, depends on the epoch alone."""
    assert_resumes_exactly(section(), RareClasses(0.5, (1,), np.array([[1], [1], [3], [1], [1], [1]], np.uint8)))


@pytest.mark.parametrize("frozen", [1, 2, 3])
def test_it_resumes_exactly_before_and_after_the_encoder_thaws(frozen):
    """A frozen parameter has no moments yet."""
    assert_resumes_exactly(section(frozen_epochs=frozen, ema=0.9))


@pytest.mark.parametrize("schedule", optim.Schedule.__args__)
@pytest.mark.parametrize("frozen", [0, 2])
def test_it_resumes_exactly_with_an_encoder_that_has_its_own_rate(schedule, frozen):
    """The optimiser numbers the encoder's parameters last, though the network has them first."""
    assert_resumes_exactly(section(encoder_rate=0.1, frozen_epochs=frozen, schedule=schedule))


def test_the_moments_have_the_memory_layout_of_their_parameters():
    """The fused step pairs them by their place in memory; otherwise it would mix them up silently."""
    state = begun(section())
    advance(state, section(), epochs=1)
    resume.write("key", state)
    restored = begun(section())
    resume.restore("key", restored)
    pairs = [(parameter, restored.optimizer.state[parameter]) for parameter in restored.network.parameters()]

    assert any(not parameter.is_contiguous() for parameter, _ in pairs)
    assert all(parameter.stride() == slots["exp_avg"].stride() for parameter, slots in pairs)


def test_patience_that_had_run_out_has_still_run_out():
    rules = section(patience=1, learning_rate=1e-9, epochs=50)
    state = begun(rules)
    advance(state, rules, epochs=50)
    resume.write("key", state)
    restored = begun(rules)
    resume.restore("key", restored)
    before = everything(restored)
    advance(restored, rules)

    assert before == everything(restored)
    assert len(restored.history) < 50


def test_another_key_leaves_the_fresh_state_alone():
    state = begun(section())
    advance(state, section(), epochs=1)
    resume.write("key", state)
    fresh = begun(section())

    assert not resume.restore("another", fresh)
    assert everything(begun(section())) == everything(fresh)


def test_there_is_nothing_to_resume_at_first_or_after_remove():
    state = begun(section())
    assert not resume.restore("key", state)
    advance(state, section(), epochs=1)
    resume.write("key", state)
    resume.FILE.with_name(".train.safetensors.partial").write_text("of a write that was killed")
    resume.remove()

    assert not resume.FOLDER.exists()
    assert not resume.restore("key", state)


def damaged() -> dict[str, bytes]:
    """Ways in which a written file can be broken."""
    content = resume.FILE.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    flipped = bytearray(content)
    flipped[(start + len(content)) // 2] ^= 1
    other = bytes(content[:start]).replace(b'\\"history\\": [[1', b'\\"history\\": [[2')
    assert other != content[:start]
    return {
        "empty": b"",
        "cut in its header": content[:50],
        "cut": content[:-1],
        "a bit of a tensor": bytes(flipped),
        "its history": other + content[start:],
        "a pickle": b"\x80\x04cos\nsystem\n.",
    }


def test_a_damaged_file_is_refused_and_leaves_the_fresh_state_alone():
    state = begun(section())
    advance(state, section(), epochs=1)
    resume.write("key", state)
    for content in damaged().values():
        resume.FILE.write_bytes(content)
        fresh = begun(section())

        with pytest.raises(IntegrityError, match=r"^\.segline/train.safetensors: damaged \(.*beginning\.$"):
            resume.restore("key", fresh)
        assert everything(begun(section())) == everything(fresh)


@pytest.mark.parametrize("metadata", [None, {"state": "[]"}, {"state": "{"}, {"state": json.dumps({"key": "key"})}])
def test_safetensors_of_another_program_are_refused(metadata):
    resume.FOLDER.mkdir()
    save_file({"network/a": torch.zeros(1)}, resume.FILE, metadata)

    with pytest.raises(IntegrityError, match="damaged"):
        resume.restore("key", begun(section()))


def test_a_path_that_cannot_be_written_is_an_os_error():
    resume.FOLDER.write_text("a file")

    with pytest.raises(OSError, match=r"\.segline"):
        resume.write("key", begun(section()))


def test_the_key_depends_on_values_files_code_and_machine(tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    (data / "images.npy").write_bytes(b"1")
    values = {"train": {"seed": 1}}
    keys = [resume.key(values, [data]), resume.key({"train": {"seed": 2}}, [data])]
    assert resume.key({"train": {"seed": 1}}, [data]) == keys[0]
    (data / "images.npy").write_bytes(b"2")
    keys.append(resume.key(values, [data]))
    (data / "images.npy").rename(data / "onehot.npy")
    keys.append(resume.key(values, [data]))
    keys.append(resume.key(values, [data / "onehot.npy", data]))
    monkeypatch.setattr(torch, "__version__", "0.0")
    keys.append(resume.key(values, [data]))
    for library in ("numpy", "segmentation_models_pytorch", "timm"):
        versions = {library: "0.0"}
        monkeypatch.setattr(importlib.metadata, "version", lambda name, known=versions: known.get(name, "1.0"))
        keys.append(resume.key(values, [data]))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        keys.append(resume.key(values, [data]))
    finally:
        torch.set_num_threads(threads)

    assert len(keys) == len(set(keys))


def test_a_state_is_saved_every_half_minute_and_not_more_often(monkeypatch, capsys):
    """Also if saving failed the last time."""
    now, written = 1000.0, []

    def write(_: str, state: State) -> None:
        written.append(now)
        if len(written) == 1:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(resume.time, "perf_counter", lambda: now)
    monkeypatch.setattr(resume, "write", write)
    saver, state = resume.Saver("key"), begun(section())
    for seconds in range(1, 101):
        now = 1000.0 + seconds
        saver.epoch_done(state)

    assert [1030.0, 1060.0, 1090.0] == written
    assert ".segline/train.safetensors: not written (No space left on device). " in capsys.readouterr().err
