"""`segline gate`: three exit codes. Whatever goes wrong, it is never 0."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import gate_broken
from segline.__main__ import main
from segline.gate import judgement, messages
from segline.reproducibility import dvc_lock
from tests.gate import sides

TRUE = sides.truth(24)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A working tree as good as `base/`, about as good as `alike/`, and much worse than `better/`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for folder, rate in (("metrics", 0.85), ("base", 0.85), ("better", 0.95), ("alike", 0.853)):
        sides.save(tmp_path / folder, sides.predicted(TRUE, rate, len(folder)))
    for folder in (".", "base", "better", "alike"):
        (tmp_path / folder / "gate.yaml").write_text(sides.RULES)
    (tmp_path / "dvc.yaml").touch()
    return tmp_path


@pytest.fixture
def committed(project) -> Path:
    """The same, committed, with seed noise."""
    sides.write_noise(project / "metrics/noise.json", sides.protocol(sides.predicted(TRUE, 0.85)), 0.0001)
    for arguments in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *arguments], cwd=project, check=True)
    commit(project)
    return project


def commit(root: Path) -> None:
    """Commits what is staged."""
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *who, "commit", "--quiet", "--message", "Change"], cwd=root, check=True)


def gate(*arguments: str) -> int:
    return main(["gate", *arguments]) or 0


def test_no_regression_is_0_and_a_regression_1(project, capsys):
    assert 0 == gate("--base", "base")
    assert 1 == gate("--base", "better")
    assert "Gate: REGRESSION against better" in capsys.readouterr().out


def test_inconclusive_is_0_and_2_where_strict(project, capsys):
    sides.write_noise(project / "metrics/noise.json", sides.protocol(sides.predicted(TRUE, 0.85)), 0.05)

    assert 0 == gate("--base", "alike")
    assert 2 == gate("--base", "alike", "--strict")
    out = capsys.readouterr().out
    assert "against alike: no regression shown, none ruled out" in out
    assert "more seeds in `segline noise`" in out


@pytest.mark.parametrize(("meaning", "code"), [("pass", 0), ("fail", 2)])
def test_the_rules_say_what_inconclusive_means(project, meaning, code):
    """Those of the base, as always."""
    sides.write_noise(project / "metrics/noise.json", sides.protocol(sides.predicted(TRUE, 0.85)), 0.05)
    (project / "alike/gate.yaml").write_text(f"{sides.RULES}inconclusive: {meaning}\n")

    assert code == gate("--base", "alike")


def test_in_github_actions_inconclusive_is_never_silently_green(project, monkeypatch, capsys):
    """A warning in the job summary, and one among the run's annotations."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project / "summary.md"))
    sides.write_noise(project / "metrics/noise.json", sides.protocol(sides.predicted(TRUE, 0.85)), 0.05)

    assert 0 == gate("--base", "alike")
    assert (project / "summary.md").read_text().startswith("> [!WARNING]\n> Inconclusive: ")
    assert "::warning title=Gate inconclusive::" in capsys.readouterr().out.splitlines()[-1]
    gate("--base", "alike", "--json")
    assert "inconclusive" == json.loads(capsys.readouterr().out)["verdict"]


def test_margins_that_one_run_cannot_show_are_named(project, capsys):
    sides.write_noise(project / "metrics/noise.json", sides.protocol(sides.predicted(TRUE, 0.85)), 0.05)

    assert "One run a side cannot show a loss of accuracy below " in "".join(said_of("alike", capsys))


def _widen_margins(root: Path) -> None:
    (root / "gate.yaml").write_text(sides.RULES.replace("0.01", "0.99"))


def _judge_another_class(root: Path) -> None:
    (root / "gate.yaml").write_text("margins: {iou.sky: 0.9}\nfloors: {}\nnoise: metrics/noise.json\n")


def _forge_noise(root: Path) -> None:
    sides.write_noise(root / "metrics/noise.json", sides.protocol(sides.predicted(TRUE, 0.85)), 0.4)


def _delete_noise(root: Path) -> None:
    (root / "metrics/noise.json").unlink()


def _take_other_noise(root: Path) -> None:
    _forge_noise(root)
    (root / "metrics/noise.json").rename(root / "metrics/other.json")
    subprocess.run(["git", "checkout", "--quiet", "metrics/noise.json"], cwd=root, check=True)
    (root / "gate.yaml").write_text(sides.RULES.replace("noise.json", "other.json"))


RULES = {
    "other noise": (_take_other_noise, "gate.yaml"),
    "margins": (_widen_margins, "gate.yaml"),
    "another class": (_judge_another_class, "gate.yaml"),
    "noise": (_forge_noise, "metrics/noise.json"),
    "no noise": (_delete_noise, "metrics/noise.json"),
}


def lose(root: Path) -> None:
    """Makes the working tree worse."""
    sides.save(root / "metrics", sides.predicted(TRUE, 0.7))


@pytest.mark.slow
@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("base", ["HEAD", "saved"])
def test_the_base_decides_whatever_the_branch_makes_of_the_rules(committed, capsys, kind, base):
    """Numbers and verdict are as with the base's rules; the changed file is named."""
    change, name = RULES[kind]
    shutil.copytree(committed / "metrics", committed / "saved")
    shutil.copy(committed / "gate.yaml", committed / "saved")
    lose(committed)
    assert 1 == gate("--base", base, "--json")
    expected = json.loads(capsys.readouterr().out)
    change(committed)

    assert 1 == gate("--base", base, "--json")
    answer = json.loads(capsys.readouterr().out)
    note = f"This branch changes {name}: the version in {base} decides; the change takes effect once it is there."
    assert expected | {"rules_changed": [name], "notes": [*expected["notes"], note]} == answer
    assert [] == answer["rules_own"]
    assert 1 == gate("--base", base)
    assert f"Gate: REGRESSION against {base}" in capsys.readouterr().out.splitlines()[0]


def test_a_comment_does_not_change_the_rules(committed, capsys):
    (committed / "gate.yaml").write_text(f"# a comment\n{sides.RULES}")

    assert 0 == gate("--base", "HEAD", "--json")
    assert [] == json.loads(capsys.readouterr().out)["rules_changed"]


@pytest.mark.parametrize(("name", "place"), [("gate.yaml", "gate.yaml"), ("metrics/noise.json", "noise.json")])
@pytest.mark.parametrize("base", ["HEAD", "saved"])
def test_without_rules_on_the_base_the_branch_s_own_decide_and_the_title_says_so(committed, capsys, base, name, place):
    shutil.copytree(committed / "metrics", committed / "saved")
    shutil.copy(committed / "gate.yaml", committed / "saved")
    (committed / "saved" / place).unlink()
    subprocess.run(["git", "rm", "--quiet", "--cached", name], cwd=committed, check=True)
    commit(committed)

    assert 0 == gate("--base", base, "--strict")
    said = capsys.readouterr().out
    assert f"Gate: PASS by ITS OWN RULES ({name}) against {base}" in said.splitlines()[0]
    assert (
        f"{base} has no {name} for this evaluation, so this branch is judged by its own: please review that file."
        in said
    )
    assert 0 == gate("--base", base, "--md")
    assert "### Gate: PASS by ITS OWN RULES (" in capsys.readouterr().out.splitlines()[0]
    assert 0 == gate("--base", base, "--json")
    answer = json.loads(capsys.readouterr().out)
    assert ([name], []) == (answer["rules_own"], answer["rules_changed"])


def test_the_branch_s_noise_replaces_noise_of_another_protocol_on_the_base(committed, capsys):
    protocol = sides.protocol(sides.predicted(TRUE, 0.85))
    for path, entries in (("base", protocol | {"split": "val"}), ("metrics", protocol)):
        sides.write_noise(committed / path / "noise.json", entries, 0.001)

    assert 0 == gate("--base", "base", "--json")
    assert ["metrics/noise.json"] == json.loads(capsys.readouterr().out)["rules_own"]


def test_noise_of_other_data_is_left_out_with_a_note(project, capsys):
    """As that of the example is, where users have brought their own data."""
    strange = sides.protocol(sides.predicted(TRUE, 0.85)) | {"data": "0123456789abcdef", "split": "val"}
    sides.write_noise(project / "metrics/noise.json", strange, 0.05)

    assert 1 == gate("--base", "better")
    assert "Seed noise is unknown (metrics/noise.json is missing, or of other data)" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "content"), [("gate.yaml", "margins: {iou.skye: 0.1}"), ("noise.json", "{")])
def test_broken_rules_on_the_base_are_2(project, capsys, name, content):
    (project / "base" / name).write_text(content)

    assert 2 == gate("--base", "base")
    assert f"error: base/{name}" in capsys.readouterr().err


@pytest.mark.parametrize("metric", ["iou.skye", "mean_dice"])
def test_so_are_rules_of_the_branch_that_would_break_the_gate_on_the_base(project, capsys, metric):
    """Although the base's rules decide."""
    (project / "gate.yaml").write_text(sides.RULES.replace("miou", metric))

    assert 2 == gate("--base", "base")
    assert f"error: gate.yaml: margins: {metric}: no such metric." in capsys.readouterr().err


LOCK = """schema: '2.0'
stages:
  train:
    cmd: python -m stages.train
    deps: [{path: data, hash: md5, md5: ddd}]
    params: {params.yaml: {train: {seed: 1, epochs: 2}}}
    outs: [{path: models/model.safetensors, hash: md5, md5: aaa}]
  evaluate:
    cmd: python -m stages.evaluate
    deps: [{path: models/model.safetensors, hash: md5, md5: aaa}]
    outs: [{path: metrics/eval.json, hash: md5, md5: EVAL}, {path: metrics/per_image.csv, hash: md5, md5: IMAGES}]
"""


def lock_of(root: Path, text: str = LOCK) -> str:
    """dvc.lock as DVC writes it for these metrics."""
    for word, name in (("EVAL", "eval.json"), ("IMAGES", "per_image.csv")):
        text = text.replace(word, dvc_lock.md5(root / "metrics" / name))
    (root / "dvc.lock").write_text(text)
    return text


def said_of(base: str, capsys) -> list[str]:
    """The notes of a judgement."""
    gate("--base", base, "--json")
    return json.loads(capsys.readouterr().out)["notes"]


def test_metrics_of_an_earlier_model_are_2(project, capsys):
    lock_of(project, LOCK.replace("aaa", "bbb", 1))

    assert 2 == gate("--base", "better")
    message = "error: metrics/eval.json: dvc.lock records an earlier model for it. Run `make repro`.\n"
    assert message == capsys.readouterr().err


@pytest.mark.parametrize("name", ["eval.json", "per_image.csv"])
def test_so_are_metrics_that_evaluate_did_not_write(project, capsys, name):
    """They are valid, but have an extra empty line."""
    lock_of(project)
    path = project / "metrics" / name
    path.write_bytes(path.read_bytes() + b"\n")

    assert 2 == gate("--base", "base")
    message = f"error: metrics/{name}: not the file that evaluate wrote, according to dvc.lock. Run `make repro`.\n"
    assert message == capsys.readouterr().err


def test_metrics_that_dvc_lock_records_are_judged_without_a_note(project, capsys):
    lock_of(project)

    assert messages.UNTIED not in said_of("better", capsys)
    assert 1 == gate("--base", "better")


UNNAMED = [LOCK[: LOCK.index(part)] for part in ("  evaluate", "    outs: [{path: metrics")]


@pytest.mark.parametrize("text", [None, *UNNAMED, LOCK.replace("metrics/per_image.csv", "elsewhere.csv")])
def test_metrics_that_no_dvc_lock_records_are_judged_with_a_note(project, capsys, text):
    if text is not None:
        lock_of(project, text)

    assert messages.UNTIED in said_of("better", capsys)
    assert 1 == gate("--base", "better")


def recipe_of(text: str) -> str:
    return dvc_lock.recipe(dvc_lock.parse(text.encode(), "dvc.lock"))


OTHER = LOCK.replace("epochs: 2", "epochs: 3")
STRANGE = "Neither side's dvc.lock records the recipe that metrics/noise.json was measured with"


@pytest.mark.parametrize(
    ("measured", "base", "note"),
    [
        (LOCK, None, None),
        (OTHER, OTHER, None),
        (LOCK.replace("seed: 1", "seed: 9"), OTHER, None),
        (OTHER, None, STRANGE),
        (OTHER, LOCK, STRANGE),
        (OTHER, "<<<<<<< HEAD", STRANGE),
        (None, LOCK, "metrics/noise.json does not say which recipe it was measured with"),
    ],
)
def test_noise_of_a_recipe_that_is_neither_side_s_is_noted_and_used(project, capsys, measured, base, note):
    lock_of(project)
    if base is not None:
        (project / "base/dvc.lock").write_text(base)
    path = project / "base/noise.json"
    sides.write_noise(path, sides.protocol(sides.predicted(TRUE, 0.85)), 0.0001)
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document if measured is None else document | {"recipe": recipe_of(measured)}))
    notes = said_of("base", capsys)

    assert 0 == gate("--base", "base", "--strict")
    assert "standard deviation over 5 seeds" in notes[0]
    assert ([note] if note else []) == [said.partition(":")[0] for said in notes[1:] if "recipe" in said]


DATA_LOCK = (
    LOCK.replace(
        "stages:\n",
        """stages:
  download:
    cmd: python -m stages.download
    deps: [{path: data/source/mine, hash: md5, md5: sss.dir}]
    params: {params.yaml: {data.input: data/source/mine}}
    outs: [{path: data/raw, hash: md5, md5: rrr.dir}]
""",
    ).replace("{path: data,", "{path: data/processed/val, hash: md5, md5: vvv.dir}, {path: data/processed/train,")
)  # fmt: skip


def changed(text: str, *words: str) -> str:
    """A lock with other hashes in these places."""
    for word in words:
        text = text.replace(word, "fff")
    return text


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        (DATA_LOCK, False),
        (changed(DATA_LOCK, "sss", "rrr", "ddd"), True),
        (changed(DATA_LOCK, "sss", "rrr", "vvv"), True),
        (changed(DATA_LOCK, "sss"), False),  # a file that is not used
        (changed(DATA_LOCK, "ddd", "vvv"), False),  # parameters of preprocess
        (changed(DATA_LOCK, "sss", "ddd"), False),  # both
        (changed(DATA_LOCK, "sss", "rrr"), False),  # neither in train nor in val
        (changed(DATA_LOCK, "sss", "rrr", "ddd", "EVAL"), False),  # of other metrics
        (LOCK, False),
        (None, False),
    ],
)
@pytest.mark.parametrize("form", ["--md", "--json"])
def test_other_training_data_are_told_where_they_are_sure(project, capsys, text, is_told, form):
    """As after labels of train were corrected: nothing else shows that not the recipe alone is compared."""
    base = lock_of(project, DATA_LOCK if text is None else text)
    if text is not None:
        (project / "alike/dvc.lock").write_text(base)
        shutil.copy(project / "metrics/eval.json", project / "alike")
        shutil.copy(project / "metrics/per_image.csv", project / "alike")
    lock_of(project, DATA_LOCK)

    assert 0 == gate("--base", "alike", form)
    assert is_told == (messages.OTHER_DATA in capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("kind", gate_broken.kinds())
@pytest.mark.parametrize("form", [[], ["--md"], ["--json"]])
def test_a_broken_baseline_is_2_in_every_form(project, capsys, kind, form):
    gate_broken.kinds()[kind](project / "base")

    assert 2 == gate("--base", "base", *form)
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    assert bool(form) == ("cannot judge" in captured.out.lower())


@pytest.mark.parametrize("kind", sorted(set(gate_broken.kinds()) - {"no folder"}))
def test_so_is_a_broken_candidate(project, kind):
    gate_broken.kinds()[kind](project / "metrics")

    assert 2 == gate("--base", "base")


def test_so_is_a_missing_candidate(project, capsys):
    shutil.rmtree(project / "metrics")

    assert 2 == gate("--base", "base")
    assert "error: metrics/eval.json: missing. Rebuild it: make repro." in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["", "margins: {}\nfloors: {}\nnoise: x\n", "margins: {miou: 1e-2}\n", "\x00", "a: &b c"]
)
def test_so_are_rules_that_cannot_be_read(project, content):
    (project / "gate.yaml").write_text(content)

    assert 2 == gate("--base", "base")


def test_so_is_noise_of_another_protocol(project, capsys):
    protocol = sides.protocol(sides.predicted(TRUE, 0.85)) | {"split": "val"}
    sides.write_noise(project / "metrics/noise.json", protocol, 0.001)

    assert 2 == gate("--base", "base")
    assert "metrics/noise.json and this evaluation: protocol.split: 'val' and 'test'" in capsys.readouterr().err


def test_so_is_a_noise_file_that_is_a_folder(project):
    (project / "metrics/noise.json").mkdir()

    assert 2 == gate("--base", "base")


def test_so_is_running_it_in_a_subfolder(project, monkeypatch, capsys):
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")

    assert 2 == gate("--base", "../base")
    assert "Run it in the project's top folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), MemoryError(), RecursionError(), KeyError("x"), OSError(28, "full")]
)
def test_so_is_any_exception(project, monkeypatch, capsys, error):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(judgement, "judge", fail)

    assert 2 == gate("--base", "base")
    assert 2 == gate("--base", "base", "--json")
    assert "cannot judge" == json.loads(capsys.readouterr().out)["verdict"]


def test_its_traceback_can_be_shown_and_the_code_stays_2(project, monkeypatch, capsys):
    monkeypatch.setenv("SEGLINE_DEBUG", "1")

    assert 2 == gate("--base", "nowhere")
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--base"], ["--base", "base", "--md", "--json"], ["--bas", "e", "f"]])
def test_so_are_wrong_arguments(project, arguments):
    with pytest.raises(SystemExit) as caught:
        gate(*arguments)

    assert 2 == caught.value.code


def test_json_goes_to_standard_output_alone(project, capsys):
    assert 1 == gate("--base", "better", "--json")
    assert "regression" == json.loads(capsys.readouterr().out)["verdict"]


def test_in_github_actions_the_markdown_goes_to_the_summary_too(project, monkeypatch, capsys):
    summary = project / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))

    assert 1 == gate("--base", "better")
    assert 2 == gate("--base", "nowhere")
    said = summary.read_text()
    assert said.startswith("before\n### Gate: REGRESSION against better\n")
    assert "\n### Gate: CANNOT JUDGE\n" in said
    assert "### Gate" not in capsys.readouterr().out


def test_a_summary_that_cannot_be_written_is_not_green(project, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project / "no" / "folder"))

    assert 2 == gate("--base", "base")


def test_the_same_question_has_the_same_answer(project, capsys):
    answers = []
    for _ in range(2):
        gate("--base", "alike", "--json")
        answers.append(capsys.readouterr().out)

    assert answers[0] == answers[1]


def _numbers(capsys) -> tuple[int, list[dict]]:
    """The exit code, and the metrics in the JSON; empty if it cannot judge."""
    code = gate("--base", "base", "--json")
    return code, json.loads(capsys.readouterr().out).get("metrics", [])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_garbage_is_green(project, capsys, data):
    """Part of a file is replaced by arbitrary bytes: the exit code is 0 only if all judged numbers are unchanged."""
    name = data.draw(
        st.sampled_from(["base/eval.json", "base/per_image.csv", "metrics/eval.json", "metrics/per_image.csv"])
    )
    path = project / name
    good = path.read_bytes()
    expected = _numbers(capsys)[1]
    begin = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(begin, len(good)))
    path.write_bytes(good[:begin] + data.draw(st.binary(min_size=1, max_size=20)) + good[end:])
    try:
        code, numbers = _numbers(capsys)
        assert code == 2 or (code, numbers) == (0, expected)  # a score that is not read, a space
    finally:
        path.write_bytes(good)
