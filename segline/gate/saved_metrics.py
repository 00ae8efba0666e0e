"""The saved metrics of a side, in a commit or in a folder, and what dvc.lock records about them. Nothing is changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from segline.core import git, params, pipeline
from segline.core.errors import DataError, ParameterError
from segline.reproducibility import dvc_lock

Stages = Mapping[str, dvc_lock.Stage]


def evaluation() -> Path:
    """The path of eval.json in the project."""
    return pipeline.path("evaluate", "metrics")


def per_image() -> Path:
    """The path of per_image.csv in the project: in the folder of eval.json."""
    return pipeline.path("evaluate", "per-image")


@dataclass(frozen=True)
class Files:
    """The two files of a side in the project, and the command that writes them."""

    evaluation: Path
    per_image: Path
    command: str


def of_run() -> Files:
    """Those of one run."""
    return Files(evaluation(), per_image(), "make repro")


@dataclass(frozen=True)
class Saved:
    """The two files as bytes. `label` and `place` name them in messages; `commit` is None for a folder."""

    label: str
    place: str
    commit: str | None
    evaluation: bytes
    per_image: bytes
    remedy: str
    files: Files = field(default_factory=of_run)

    @property
    def evaluation_name(self) -> str:
        """What messages call eval.json."""
        return f"{self.place}{self.files.evaluation.name}"

    @property
    def per_image_name(self) -> str:
        """What messages call per_image.csv."""
        return f"{self.place}{self.files.per_image.name}"


def in_folder(folder: Path, label: str, remedy: str, files: Files | None = None) -> Saved:
    """The metrics in a folder, by default those of one run. Raises DataError if one is missing or not a file."""
    files = files or of_run()

    def content(name: str) -> bytes:
        path = folder / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            below = folder / evaluation().parent
            raise DataError(path, "missing", f"Did you mean {below}?" if (below / name).exists() else remedy) from None
        except IsADirectoryError:
            raise DataError(path, "a folder, expected a file", remedy) from None

    return Saved(
        label, f"{folder}/", None, content(files.evaluation.name), content(files.per_image.name), remedy, files
    )


def read(base: str, root: Path, files: Files | None = None) -> Saved:
    """The metrics of `base`, a revision of the repository at `root` or a folder; by default those of one run.

    Raises ParameterError if it is neither or both, DataError if it has no metrics.
    """
    where, files = f"--base {base}", files or of_run()
    if not base.strip():
        raise ParameterError("--base", "empty", "Name a revision, such as origin/main, or a folder of saved metrics.")
    folder, commit = root / base, commit_of(base, root)
    if folder.is_dir() and commit:
        remedy = f"Write ./{base} for the folder, or refs/heads/{base} for the branch."
        raise ParameterError(where, "both a folder and a revision", remedy)
    if commit:
        return _committed(base, commit, root, files)
    if not folder.is_dir():
        raise _unknown(where, base, root)
    if folder.resolve() == (root / evaluation().parent).resolve():
        raise ParameterError(where, "the candidate's own folder", "Name a folder with the metrics of another run.")
    remedy = f"Save {files.evaluation.name} and {files.per_image.name} of the base there."
    return in_folder(folder, base, remedy, files)


def commit_of(revision: str, root: Path) -> str | None:
    """The full hash of the commit that a revision names; None without such a commit or repository."""
    if revision.startswith("-"):
        return None
    answer = git.answer(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    return None if answer is None else answer.decode().strip()


def at_commit(commit: str, path: Path, root: Path) -> bytes | None:
    """A file of the project at a commit; None if it does not exist."""
    return git.answer(root, "cat-file", "blob", f"{commit}:./{path.as_posix()}")


def beside(label: str, commit: str | None, path: Path, root: Path) -> bytes | None:
    """Another file of the base: the project's at a commit, or one beside the metrics in a folder. None without it."""
    if commit:
        return at_commit(commit, path, root)
    file = root / label / path.name
    return file.read_bytes() if file.exists() else None


def _committed(base: str, commit: str, root: Path, files: Files) -> Saved:
    folder = evaluation().parent.as_posix()
    place = f"{base}:{folder}/"

    def content(path: Path) -> bytes:
        committed = at_commit(commit, path, root)
        if committed is None:
            kind = git.ask(root, "cat-file", "-t", f"{commit}:./{path.as_posix()}").stdout.decode().strip()
            problem = "a folder, expected a file" if kind == "tree" else "not in that commit"
            remedy = f"Commit {folder}/ there ({files.command}, git add {folder}, git commit), or name another base."
            raise DataError(f"{place}{path.name}", problem, remedy)
        return committed

    remedy = "Name another base, or fix it there."
    return Saved(base, place, commit, content(files.evaluation), content(files.per_image), remedy, files)


def _unknown(where: str, base: str, root: Path) -> ParameterError:
    """The error for a base that is neither a folder nor a revision, with the git command that fetches it, if any."""
    asked = git.ask(root, "rev-parse", "--is-shallow-repository")
    if asked.returncode:
        reason = asked.stderr.decode(errors="replace").strip().splitlines() or ["git failed"]
        remedy = "Run it in a clone, or name a folder of saved metrics."
        return ParameterError(where, f"no such folder, and git says: {reason[-1]}", remedy)
    shallow = asked.stdout.strip() == b"true"
    problem = "no such folder, and no such revision in this shallow clone" if shallow else "no such folder or revision"
    remotes = git.ask(root, "remote").stdout.decode().split()
    remote, _, branch = base.partition("/")
    if branch and remote in remotes:
        depth = "--depth=1 " if shallow else ""
        remedy = f"Run: git fetch {depth}{remote} +refs/heads/{branch}:refs/remotes/{remote}/{branch}"
    elif shallow:
        remedy = "Run: git fetch --unshallow --tags"
        remedy += f" (in a clone, a branch is called {remotes[0]}/NAME)." if remotes else "."
    else:
        remedy = (
            "`git branch --all` and `git tag` list those in this clone; `git fetch --all` gets those of the remotes."
        )
    return ParameterError(where, problem, remedy)


def locked_stages(root: Path) -> Stages:
    """The stages that dvc.lock in the working tree records; empty if nothing was ever reproduced."""
    return dvc_lock.stages(root) if (root / dvc_lock.FILE).exists() else {}


def are_locked(candidate: Saved, locked: Stages) -> bool:
    """Whether dvc.lock records exactly these files as outputs of evaluate; False if it records none.

    Raises DataError if it records other files, or an earlier model for evaluate than train's.
    """
    if not {"train", "evaluate"} <= locked.keys():
        return False
    recorded = locked["evaluate"].outputs
    model = pipeline.path("train", "model").as_posix()
    if locked["train"].outputs.get(model) != locked["evaluate"].inputs.get(model):
        raise DataError(evaluation(), f"{dvc_lock.FILE} records an earlier model for it", "Run `make repro`.")
    contents = {evaluation(): candidate.evaluation, per_image(): candidate.per_image}
    for path, content in contents.items():
        if recorded.get(path.as_posix()) not in (None, dvc_lock.md5_of(content)):
            problem = f"not the file that evaluate wrote, according to {dvc_lock.FILE}"
            raise DataError(path, problem, "Run `make repro`.")
    return all(path.as_posix() in recorded for path in contents)


def stages_of(base: Saved, root: Path) -> Stages:
    """The stages in the dvc.lock of the base; empty if it is missing or broken, which is not refused."""
    content = beside(base.label, base.commit, dvc_lock.FILE, root)
    try:
        return {} if content is None else dvc_lock.parse(content, dvc_lock.FILE)
    except DataError:
        return {}


def trained_on(saved: Saved, stages: Stages) -> tuple[str, ...] | None:
    """The md5 of data.input, of data/raw, and of the train and val arrays: all that a training knows of its data.

    None unless the stages record all of them, and these metrics.
    """
    if not {"download", "train", "evaluate"} <= stages.keys():
        return None
    download, train, evaluate = stages["download"], stages["train"], stages["evaluate"]
    if evaluate.outputs.get(evaluation().as_posix()) != dvc_lock.md5_of(saved.evaluation):
        return None
    source = str(download.parameters.get(str(params.FILE), {}).get("data.input"))
    arrays = [train.inputs.get(pipeline.path("train", split).as_posix()) for split in ("train", "val")]
    raw = download.outputs.get(pipeline.path("download", "raw").as_posix())
    found = download.inputs.get(source), raw, None if None in arrays else " ".join(map(str, arrays))
    return tuple(map(str, found)) if all(found) else None
