"""git is asked without a lock, in English, and its absence is an answer."""

import subprocess

import pytest

from segline.core import git


@pytest.fixture
def repository(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "file").write_bytes(b"\xff\n")
    subprocess.run(["git", "add", "file"], cwd=tmp_path, check=True)
    return tmp_path


def test_an_answer_is_the_bytes_that_git_prints(repository):
    assert b"\xff\n" == git.answer(repository, "cat-file", "blob", ":file")


def test_a_question_that_fails_has_no_answer(repository, tmp_path_factory):
    assert git.answer(repository, "rev-parse", "--verify", "--quiet", "HEAD") is None
    assert git.answer(tmp_path_factory.mktemp("elsewhere"), "status") is None


def test_messages_are_in_english_whatever_the_language_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")

    assert b"not a git repository" in git.ask(tmp_path, "status").stderr


def test_a_status_works_while_another_process_holds_the_index(repository):
    (repository / ".git" / "index.lock").touch()

    assert b"A  file\n" == git.answer(repository, "status", "--porcelain")
    assert (repository / ".git" / "index.lock").exists()


def test_without_git_or_in_time_there_is_no_answer(repository, monkeypatch):
    assert 127 == git.ask(repository, "status", timeout=0).returncode

    monkeypatch.setenv("PATH", "")

    assert 127 == git.ask(repository, "status").returncode
    assert git.answer(repository, "status") is None
