"""`segline weights` fetches from a hub once, names what went wrong in a line, and gives tensors the names of timm."""

import hashlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load, save
from torch import Tensor

from segline.__main__ import main
from segline.commands import weights_hub
from segline.core.errors import FetchError, IntegrityError, ParameterError, PipelineError
from segline.training import pretrained
from tests.encoders import hub

TENSORS = {"stem.weight": torch.arange(3000.0), "stem.bias": torch.zeros(3)}
TINY = "test_resnet"  # of timm, for its own tests
FAULTS = ("gated", "private", "lost", "html", "broken", "short")


def pickled(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


SAFE, PICKLED = save(TENSORS), pickled(TENSORS)
FILES = {
    "some/net/model.safetensors": SAFE,
    "some/net/pytorch_model.bin": b"the other one is preferred",
    "some/old/pytorch_model.bin": PICKLED,
    "some/other/deep/last.pth": PICKLED,
    "some/other/README.md": b"# text",
    "some/text/model.safetensors": b"<html>please log in</html>",
    f"timm/{TINY}.r160_in1k/model.safetensors": SAFE,
    **{f"some/{fault}/model.safetensors": SAFE for fault in FAULTS},
}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").touch()
    return tmp_path


def use(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT and HF_HOME do, which the library reads when it is imported."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(Path("cache").absolute()))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("time.sleep", lambda _: None)  # before a retry


@pytest.fixture
def server(project, monkeypatch) -> Iterator[hub.Hub]:
    with hub.serving(FILES, **{fault: fault for fault in FAULTS}) as running:
        use(running.address, monkeypatch)
        yield running


def refused(*arguments: str) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        main(["weights", *arguments])
    assert 1 == len(str(caught.value).splitlines())
    assert not list(Path("data/weights").glob("*"))
    return caught.value


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("some/net", "some--net.safetensors", SAFE),
        ("some/old", "some--old.pth", PICKLED),
        ("some/other:deep/last.pth", "some--other--deep--last.pth.pth", PICKLED),
        ("some/net@v1", "some--net@v1.safetensors", SAFE),
        ("some/net@refs/pr/1", "some--net@refs--pr--1.safetensors", SAFE),
        (f"some/other@{hub.COMMIT}:deep/last.pth", f"some--other@{hub.COMMIT}--deep--last.pth.pth", PICKLED),
        (TINY, f"{TINY}.r160_in1k.safetensors", SAFE),
        (f"tu-{TINY}.r160_in1k", f"{TINY}.r160_in1k.safetensors", SAFE),
    ],
)
def test_a_file_is_fetched_and_its_two_lines_are_printed(server, capsys, name, file, content):
    assert 0 == main(["weights", name])

    assert content == Path("data/weights", file).read_bytes()
    assert [f"weights: data/weights/{file}", f"weights_sha256: {hashlib.sha256(content).hexdigest()}"] == (
        capsys.readouterr().out.splitlines()[-2:]
    )


def test_it_is_fetched_once(server, capsys):
    main(["weights", "some/net"])
    server.seen.clear()
    first = capsys.readouterr().out.splitlines()[-2:]
    main(["weights", "some/net"])
    again = capsys.readouterr().out.splitlines()

    assert not server.seen
    assert ["data/weights/some--net.safetensors is there already; remove it to fetch it again", *first] == again


def test_the_revision_is_asked_of_the_hub(server):
    main(["weights", f"some/net@{hub.COMMIT}"])

    assert server.seen[f"HEAD /some/net/resolve/{hub.COMMIT}/model.safetensors"]
    assert not any("/main/" in line for line in server.seen)


def test_a_file_that_is_there_is_parsed_before_its_hash_is_printed(server, capsys):
    main(["weights", "some/net"])
    Path("data/weights/some--net.safetensors").write_bytes(SAFE[:-1])
    capsys.readouterr()
    with pytest.raises(IntegrityError, match=r"some--net\.safetensors: not a plain table of names and tensors"):
        main(["weights", "some/net"])

    said = "data/weights/some--net.safetensors is there already; remove it to fetch it again"
    assert [said] == capsys.readouterr().out.splitlines()


def test_a_transfer_that_breaks_goes_on_where_it_broke(server):
    main(["weights", "some/broken"])

    assert SAFE == Path("data/weights/some--broken.safetensors").read_bytes()
    assert 2 == server.seen["GET /cdn/some/broken/model.safetensors"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("some/other", "has neither model.safetensors nor pytorch_model.bin. Name one of its files: segline weights "),
        ("some/net:last.pth", "has no file last.pth. Check the name, such as model.safetensors, pytorch_model.bin."),
        ("some/net@v9", "has no branch, tag or commit v9. Check the name."),
        ("some/other@v1", "Name one of its files: segline weights some/other@v1:FILE, such as deep/last.pth."),
        ("some/nothing", "no such repository, or a private one. Check the name, or log in (`hf auth login`) or set "),
        ("some/private", "no such repository, or a private one. Check the name, or log in"),
        ("some/gated", "asks for consent to its terms. Give it on its page, then log in"),
        ("some/lost", "model.safetensors: HTTP 500 Internal Server Error. Check the network"),
        ("some/html", "the answer is not that of a hub. Check the network, the proxy and HF_ENDPOINT"),
        ("some/short", "model.safetensors did not arrive ("),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(server, name, problem):
    error = refused(name)

    assert isinstance(error, FetchError)
    assert f"{server.address}/{re.split('[:@]', name)[0]}: " in str(error)
    assert problem in str(error)


def test_what_is_no_table_of_tensors_is_not_kept(server):
    assert isinstance(refused("some/text"), IntegrityError)


def test_too_large_a_file_is_not_begun(server, monkeypatch):
    monkeypatch.setattr(pretrained, "MAX_BYTES", 1000)

    assert f"model.safetensors has {len(SAFE):,} bytes, expected at most 1,000" in str(refused("some/net"))
    assert not any(line.startswith("GET /cdn") for line in server.seen)


def test_offline_there_is_what_the_cache_has(server, monkeypatch):
    main(["weights", "some/old"])
    Path("data/weights/some--old.pth").unlink()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    server.seen.clear()
    main(["weights", "some/old"])
    Path("data/weights/some--old.pth").unlink()

    assert "model.safetensors is not in the cache. Unset HF_HUB_OFFLINE" in str(refused("some/net:model.safetensors"))
    assert "some/net: not in the cache. Unset HF_HUB_OFFLINE" in str(refused("some/net"))
    assert not server.seen


@pytest.mark.parametrize("proxy", [True, False])
def test_a_network_that_is_down_and_a_proxy_that_is_down_are_one_line(project, monkeypatch, proxy):
    use("http://hub.invalid" if proxy else "http://127.0.0.1:9", monkeypatch)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9" if proxy else "")
    huggingface_hub.close_session()  # it keeps the proxies of its first request
    try:
        assert "model.safetensors did not arrive (" in str(refused("some/net"))
    finally:
        huggingface_hub.close_session()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnett34", "resnett34: timm has no weights of that name. Did you mean resnet34"),
        ("a/b/c", "a/b/c: expected owner/repository, @REVISION or :FILE after it"),
        ("a/b@", "a/b@: expected owner/repository, @REVISION or :FILE after it"),
        ("../data:x", r"\.\./data: "),
    ],
)
def test_a_name_that_means_nothing_is_one_line(server, name, said):
    assert re.search(said, str(refused(name)))


def test_the_variables_of_the_library_are_respected(project):
    """HF_ENDPOINT and HF_HUB_OFFLINE, read by a process of its own."""
    with hub.serving(FILES) as server:
        environment = {**os.environ, "HF_ENDPOINT": server.address, "HF_HOME": "cache"}
        command = [sys.executable, "-m", "segline", "weights", "some/net"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        server.seen.clear()
        Path("data/weights/some--net.safetensors").unlink()
        environment["HF_HUB_OFFLINE"] = "1"
        again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == again.stdout
    assert not server.seen


def old_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Other names, in the same order, with the same last parts."""
    return {f"_layer{number}.{key.rpartition('.')[2]}": each for number, (key, each) in enumerate(tensors.items())}


def model() -> dict[str, Tensor]:
    torch.manual_seed(1)
    tensors: dict[str, Tensor] = timm.create_model(TINY).state_dict()
    return tensors


def checkpoint(tensors: dict[str, Any], path: str = "old.pth") -> str:
    Path(path).write_bytes(pickled(tensors))
    return path


def test_tensors_get_the_names_of_timm_by_their_order(project, capsys):
    assert 0 == main(["weights", checkpoint(old_names(model())), "--as", TINY])

    path = Path(f"data/weights/{TINY}.safetensors")
    said, *lines = capsys.readouterr().out.splitlines()
    assert path.read_bytes() == save(model())
    assert [f"weights: {path}", f"weights_sha256: {hashlib.sha256(path.read_bytes()).hexdigest()}"] == lines
    assert (
        f"{len(model())} tensors, from _layer0.weight to _layer{len(model()) - 1}.bias, are conv1.0.weight to " in said
    )


def test_tensors_that_share_their_memory_are_stored_each(project):
    """safetensors refuses to save them together."""
    counts = [name for name in model() if name.endswith("num_batches_tracked")]
    tied = model() | dict.fromkeys(counts, torch.tensor(5))
    main(["weights", checkpoint(old_names(tied)), "--as", TINY])

    kept = load(Path(f"data/weights/{TINY}.safetensors").read_bytes())
    assert all(torch.equal(tensor, kept[name]) for name, tensor in tied.items())


@pytest.mark.parametrize("classes", [0, 7])
def test_a_classifier_that_is_absent_or_has_other_classes_is_left_out(project, capsys, classes):
    tensors = old_names({key: each for key, each in model().items() if not key.startswith("fc.")})
    if classes:
        tensors |= {"top.weight": torch.zeros(classes, 96), "top.bias": torch.zeros(classes)}
    main(["weights", checkpoint(tensors), "--as", TINY])
    kept = load(Path(f"data/weights/{TINY}.safetensors").read_bytes())

    assert set(model()) - {"fc.weight", "fc.bias"} == set(kept)
    out = capsys.readouterr().out
    left = f"left out: top.weight, top.bias, not the classifier of {TINY}"
    assert (left if classes else f"the classifier of {TINY} is absent") in out


def swapped(tensors: dict[str, Tensor], one: str, other: str) -> dict[str, Tensor]:
    """The tensors in another order."""
    names = [{one: other, other: one}.get(name, name) for name in tensors]
    return {name: tensors[name] for name in names}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda old: old | {"_layer0.weight": torch.zeros(2, 3)},
            r"tensor 1, _layer0.weight \(2, 3\) torch.float32, is",
        ),
        (lambda old: old | {"_layer0.weight": old["_layer0.weight"].double()}, "float64, is not conv1.0.weight"),
        (lambda old: swapped(old, "_layer1.weight", "_layer2.bias"), "tensor 2, _layer2.bias .* is not .*weight"),
        (lambda old: dict(list(old.items())[:9]), "has 9 tensors, expected"),
        (lambda old: old | {f"more{i}": torch.zeros(1) for i in range(9)}, "11 tensors follow those of"),
    ],
    ids=["shape", "type", "order", "fewer", "more"],
)
def test_a_checkpoint_of_another_model_or_order_is_refused(project, change, said):
    error = refused(checkpoint(change(old_names(model()))), "--as", TINY)

    assert isinstance(error, IntegrityError)
    assert re.search(said, str(error))


def test_files_that_cannot_be_renamed_are_refused(project):
    Path("old.safetensors").write_bytes(SAFE)
    checkpoint({"model": model()}, "nested.pth")
    said = {
        "missing.pth": "missing.pth: missing",
        "old.safetensors": "safetensors sorts tensors",
        "nested.pth": "not a plain table of names and tensors",
    }

    assert all(text in str(refused(path, "--as", TINY)) for path, text in said.items())
    assert "timm has no model of that name. Did you mean resnet" in str(refused(checkpoint(TENSORS), "--as", "resnett"))
    assert "a file, expected a name of timm or owner/repository" in str(refused("old.safetensors"))


def test_a_missing_package_is_named_with_what_installs_it():
    with pytest.raises(ParameterError) as caught:
        weights_hub.package("no_such_package")

    assert str(caught.value).endswith("(No module named 'no_such_package'). Install it: make setup EXTRAS=encoders.")
