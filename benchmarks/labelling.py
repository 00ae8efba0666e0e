"""Exports of labelling tools: speed and peak memory for a quarter, a half and all of many annotations.

    python -m benchmarks.labelling [ANNOTATIONS]

100,000 by default: polygons of 40 points, ten an image of 640x480; LabelMe has a file for each image. Images are links
to one. `check` is what `segline check` reads of them; `collect` draws all masks and object numbers, too. The goal:
memory grows with what must be known of each annotation, by at most 1 KiB, never with the file.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segline.core import atomic
from segline.monitoring import console
from segline.preprocessing.image_files import png

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH, EACH, POINTS = 480, 640, 10, 40
CLASSES = ("car", "road", "sky")
RULES = {
    "classes": list(CLASSES),
    "unlabelled": "void",
    "unknown": "refuse",
    "faults": "refuse",
    "group": "",
    "split": {"by": "ratio", "shares": {"all": 1.0}, "seed": 1},
}
PLACES = {
    "coco": {"annotations": "instances.json", "images": "images"},
    "cvat": {"annotations": "annotations.xml", "images": "images"},
    "label_studio": {"annotations": "export.json", "images": "images", "field": "image"},
    "labelme": {"annotations": "images/*.json"},
}
MEASURED = (  # VmHWM, since ru_maxrss starts at what the parent held
    "import json, sys, time\nfrom pathlib import Path\nfrom segline.core import plugins\n"
    "source = plugins.choose('segline.sources', sys.argv[1], 'data.source')\n"
    "section = source.Section.model_validate(json.loads(sys.argv[2]))\n"
    "def peak(): return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    "before, wall, cpu = peak(), time.perf_counter(), time.process_time()\n"
    "if sys.argv[3] == 'check': source.require_input(section, Path('mine'))\n"
    "else: source.collect(section, Path('mine'), Path('raw'))\n"
    "print(time.perf_counter() - wall, time.process_time() - cpu, before, peak())\n"
)


def outlines(count: int) -> Iterator[list[tuple[str, np.ndarray]]]:
    """Class and points, float64 (POINTS, 2), of the annotations of each image."""
    random = np.random.default_rng(1)
    turns = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    circle = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    for _ in range(count // EACH):
        middles = random.uniform((60, 60), (WIDTH - 60, HEIGHT - 60), (EACH, 2))
        radii = random.uniform(20, 60, (EACH, POINTS, 1))
        yield [
            (CLASSES[place % len(CLASSES)], (middle + radius * circle).round(2))
            for place, (middle, radius) in enumerate(zip(middles, radii, strict=True))
        ]


def write(kind: str, root: Path, count: int) -> None:
    """An export of so many annotations, with its images."""
    (root / "images").mkdir(parents=True)
    png.write_png(root / "image.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    names = [f"{number:06}.png" for number in range(count // EACH)]
    for name in names:
        (root / "images" / name).hardlink_to(root / "image.png")
    {"coco": _coco, "cvat": _cvat, "label_studio": _label_studio, "labelme": _labelme}[kind](root, names, count)


def _coco(root: Path, names: Sequence[str], count: int) -> None:
    images = [{"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH} for number, name in enumerate(names)]
    annotations = [
        {"image_id": image, "category_id": CLASSES.index(label), "segmentation": [points.ravel().tolist()]}
        for image, found in enumerate(outlines(count))
        for label, points in found
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "instances.json").write_text(json.dumps(content), encoding="utf-8")


def _cvat(root: Path, names: Sequence[str], count: int) -> None:
    with (root / "annotations.xml").open("w", encoding="utf-8") as file:
        file.write("<annotations>\n")
        for name, found in zip(names, outlines(count), strict=True):
            file.write(f'<image name="{name}" width="{WIDTH}" height="{HEIGHT}">\n')
            for label, points in found:
                text = ";".join(f"{x},{y}" for x, y in points.tolist())
                file.write(f'<polygon label="{label}" z_order="0" points="{text}"/>\n')
            file.write("</image>\n")
        file.write("</annotations>\n")


def _label_studio(root: Path, names: Sequence[str], count: int) -> None:
    tasks = []
    for number, (name, found) in enumerate(zip(names, outlines(count), strict=True)):
        size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
        results: list[dict[str, Any]] = [
            {
                "type": "polygonlabels",
                "value": {"points": (points / (WIDTH, HEIGHT) * 100).tolist(), "polygonlabels": [label]},
                **size,
            }
            for label, points in found
        ]
        tasks.append({"id": number, "data": {"image": name}, "annotations": [{"result": results}]})
    (root / "export.json").write_text(json.dumps(tasks), encoding="utf-8")


def _labelme(root: Path, names: Sequence[str], count: int) -> None:
    for name, found in zip(names, outlines(count), strict=True):
        shapes = [{"label": label, "points": points.tolist(), "shape_type": "polygon"} for label, points in found]
        content = {"imagePath": name, "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": shapes}
        (root / "images" / name).with_suffix(".json").write_text(json.dumps(content), encoding="utf-8")


def measure(kind: str, what: str, work: Path) -> tuple[float, float, float, float]:
    """In a process of its own, after the imports: seconds, CPU seconds, memory before and at its peak in MiB."""
    command = [sys.executable, "-c", MEASURED, kind, json.dumps({**RULES, **PLACES[kind]}), what]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=work, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    wall, cpu, before, peak = map(float, done.stdout.split()[-4:])
    return wall, cpu, before / 1024, peak / 1024


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = console.parser(__doc__)
    parser.add_argument("annotations", type=int, nargs="?", default=100_000, help="of the largest (%(default)s)")
    parser.add_argument("--sources", nargs="+", choices=list(PLACES), default=list(PLACES), help="all by default")
    arguments = parser.parse_args(argv)
    largest: int = arguments.annotations
    console.say("| source | annotations | | wall | CPU | memory before | peak |\n|---|---|---|---|---|---|---|")
    growth = []
    with tempfile.TemporaryDirectory() as temporary:
        for kind in arguments.sources:
            peaks: dict[str, list[float]] = {"check": [], "collect": []}
            for count in (largest // 4, largest // 2, largest):
                work = Path(temporary) / "work"
                write(kind, work / "mine", count)
                for what, found in peaks.items():
                    wall, cpu, before, peak = measure(kind, what, work)
                    found.append(peak)
                    times = f"{wall:.1f} s | {cpu:.1f} s"
                    console.say(f"| {kind} | {count} | {what} | {times} | {before:.0f} MiB | {peak:.0f} MiB |")
                atomic.remove(work)
            for what, (least, *_, most) in peaks.items():
                each = 1024 * (most - least) / (largest - largest // 4)
                growth.append(f"{kind}, {what}: {each:.2f} KiB for each additional annotation")
    console.say("\n".join(["", *growth]))


if __name__ == "__main__":
    console.run(main)
