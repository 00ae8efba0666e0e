"""`segline labels`: where the labels are likely to be wrong, by the predictions of a cross-validation.

images.csv, objects.csv   the most suspicious first
class_pairs.csv           which label is disputed as which class, and how often
labels.html               the first of each, with pictures
annotations*              the labels of all images for a labelling tool, in the order of images.csv, if asked for
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from segline.core import atomic, params, records
from segline.core.errors import DataError, ParameterError
from segline.inference import annotation_files, annotations
from segline.inference.input_files import InputImage
from segline.labels import page, ranking
from segline.labels.ranking import Ranking
from segline.monitoring import console
from segline.reproducibility import crossvalidation, dvc_lock, out_of_fold
from segline.reproducibility.out_of_fold import Image

FOLDER = Path("predictions/labels")
PAGE = "labels.html"
WEAK = 0.25  # of the labelled pixels of an image, on average: above it the models are wrong more often than labels


def find(root: Path, images: Sequence[Image], request: annotations.Request | None) -> None:
    """Writes the ranking of the `images` of the project in `root` to `FOLDER`, in place of an earlier one.

    Raises DataError if predictions are missing or of other images, ParameterError for a folder with annotations.
    """
    folder = root / FOLDER
    _require_no_annotations(folder)
    if request:
        _require_names(images, request.form)
    if _is_outdated(root):
        console.warn(f"{crossvalidation.FILE} is of other labels or parameters than dvc.lock has now.")
    ranked = ranking.rank(images)
    disputed = sum(image.disputed for image in ranked.images) / len(ranked.images)
    if disputed > WEAK:
        weak = "models as weak as these say little about labels. Train longer or on more images first."
        console.warn(f"{100 * disputed:.0f} % of the labelled pixels are in dispute: {weak}")
    with atomic.folder(folder) as temporary:
        for name, (columns, rows) in ranking.tables(images, ranked).items():
            records.write_csv(temporary / name, columns, rows)
        dataset = images[0].index.dataset
        (temporary / PAGE).write_text(page.render(images, ranked, dataset), encoding="utf-8")
        if request:
            _annotate(temporary, images, ranked, request)
    console.say(f"{len(ranked.images)} images, {len(ranked.objects)} disputed objects -> {FOLDER / PAGE}")


def _annotate(folder: Path, images: Sequence[Image], ranked: Ranking, request: annotations.Request) -> None:
    """Writes the labels as they are, for a person to correct."""
    written = annotation_files.Annotations(folder, images[0].classes, request)
    for image in images:
        written.add(image.name, Path(image.origin.image), image.labels())
    written.write([images[each.number].name for each in ranked.images])


def _require_no_annotations(folder: Path) -> None:
    for name in (annotation_files.FOLDER, *annotation_files.NAMES.values()):
        if (folder / name).exists():
            problem = f"has {name} of an earlier ranking, which someone may have corrected"
            raise ParameterError(FOLDER, problem, "Move it away.")


def _require_names(images: Sequence[Image], form: str) -> None:
    """Raises PipelineError for labels that annotations cannot hold."""
    if images[0].index.objects:
        problem = "the labels have object numbers, which annotations of regions would lose"
        raise ParameterError("--annotations", problem, "Correct the labels where they were made.")
    sources = [InputImage(Path(image.origin.image), image.name, image.origin.page) for image in images]
    annotation_files.require_names(form, sources)


def _is_outdated(root: Path) -> bool:
    """Whether the cross-validation is of another recipe than dvc.lock, or that cannot be told."""
    try:
        recipe = records.read_json(root / crossvalidation.FILE)["recipe"]
    except DataError as error:
        raise DataError(error.where, error.problem, out_of_fold.REMEDY) from None
    return bool(recipe != crossvalidation.recipe(dvc_lock.stages(root)))


def command(args: Namespace) -> None:
    """`segline labels`."""
    params.require_top_folder(dvc_lock.FILE)
    root = Path.cwd()
    images = out_of_fold.images(root)
    request = None
    if args.annotations:
        drawn = args.tolerance, args.least_area, args.unlabelled
        request = annotations.request(args.annotations, *drawn, images[0].classes)
    find(root, images, request)
