"""The saved metrics of a side: as a commit holds them, or as they lie in a folder. git is asked, nothing is changed."""

from dataclasses import dataclass
from pathlib import Path

from segline.core import git
from segline.core.errors import DataError, ParameterError

FOLDER = Path("metrics")  # of the working tree, and of a commit
EVALUATION, IMAGES = "eval.json", "per_image.csv"


@dataclass(frozen=True)
class Saved:
    """The two files as bytes. `label` and `place` name them in messages, `commit` is None for a folder."""

    label: str
    place: str
    commit: str | None
    evaluation: bytes
    images: bytes
    remedy: str


def in_folder(folder: Path, label: str, remedy: str) -> Saved:
    """The metrics that lie in a folder. Raises DataError if one is missing or no file."""

    def content(name: str) -> bytes:
        path = folder / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            below = folder / FOLDER
            raise DataError(path, "missing", f"Did you mean {below}?" if (below / name).exists() else remedy) from None
        except IsADirectoryError:
            raise DataError(path, "a folder, expected a file", remedy) from None

    return Saved(label, f"{folder}/", None, content(EVALUATION), content(IMAGES), remedy)


def read(base: str, root: Path) -> Saved:
    """The metrics that `base`, a revision of the repository at `root` or a folder, holds.

    Raises ParameterError if it names neither or both, DataError if it has no metrics.
    """
    where = f"--base {base}"
    if not base.strip():
        raise ParameterError("--base", "empty", "Name a revision, such as origin/main, or a folder of saved metrics.")
    folder, commit = root / base, commit_of(base, root)
    if folder.is_dir() and commit:
        remedy = f"Write ./{base} for the folder, or refs/heads/{base} for the branch."
        raise ParameterError(where, "names both a folder and a revision", remedy)
    if commit:
        return _committed(base, commit, root)
    if not folder.is_dir():
        raise _unknown(where, base, root)
    if folder.resolve() == (root / FOLDER).resolve():
        raise ParameterError(where, "is the candidate itself", "Name a folder that holds the metrics of another run.")
    return in_folder(folder, base, f"Save {EVALUATION} and {IMAGES} of the base there.")


def commit_of(revision: str, root: Path) -> str | None:
    """The full hash of the commit that a revision names; None if it names none, or there is no repository."""
    if revision.startswith("-"):
        return None
    answer = git.answer(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    return None if answer is None else answer.decode().strip()


def at_commit(commit: str, path: Path, root: Path) -> bytes | None:
    """A file of the project at a commit; None if there is no such file."""
    return git.answer(root, "cat-file", "blob", f"{commit}:./{path.as_posix()}")


def beside(label: str, commit: str | None, path: Path, root: Path) -> bytes | None:
    """Another file of the base: of the project at a commit, or beside the metrics in a folder. None without one."""
    if commit:
        return at_commit(commit, path, root)
    file = root / label / path.name
    return file.read_bytes() if file.exists() else None


def _committed(base: str, commit: str, root: Path) -> Saved:
    place = f"{base}:{FOLDER.as_posix()}/"

    def content(name: str) -> bytes:
        found = at_commit(commit, FOLDER / name, root)
        if found is None:
            kind = git.ask(root, "cat-file", "-t", f"{commit}:./{FOLDER.as_posix()}/{name}").stdout.decode().strip()
            what = "a folder, expected a file" if kind == "tree" else "not in that commit"
            remedy = "Commit metrics/ there (make repro, git add metrics, git commit), or name another base."
            raise DataError(f"{place}{name}", what, remedy)
        return found

    return Saved(base, place, commit, content(EVALUATION), content(IMAGES), "Name another base, or mend it there.")


def _unknown(where: str, base: str, root: Path) -> ParameterError:
    """No folder and no revision: why, and the git command that mends it where there is one."""
    asked = git.ask(root, "rev-parse", "--is-shallow-repository")
    if asked.returncode:
        said = asked.stderr.decode(errors="replace").strip().splitlines() or ["git failed"]
        remedy = "Run it in a clone, or name a folder of saved metrics."
        return ParameterError(where, f"no such folder, and git says: {said[-1]}", remedy)
    shallow = asked.stdout.strip() == b"true"
    found = "no such folder, and this clone, which is shallow, has no such revision"
    found = found if shallow else "no such folder or revision"
    remotes = git.ask(root, "remote").stdout.decode().split()
    remote, _, branch = base.partition("/")
    if branch and remote in remotes:
        depth = "--depth=1 " if shallow else ""
        remedy = f"Run: git fetch {depth}{remote} +refs/heads/{branch}:refs/remotes/{remote}/{branch}"
    elif shallow:
        remedy = "Run: git fetch --unshallow --tags"
        remedy += f" (a branch is called {remotes[0]}/NAME in a clone)." if remotes else "."
    else:
        remedy = "git branch --all and git tag list those that are here; git fetch --all brings those of the remotes."
    return ParameterError(where, found, remedy)
