"""Objects drawn one above the other; shapes that cannot be drawn."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.sources.collecting import shapes
from segline.sources.collecting.shapes import Canvas, Faults, Region

FILE = Path("a.json")


def points(*values: float) -> np.ndarray:
    return np.array(values, float).reshape(-1, 2)


@st.composite
def regions(draw: st.DrawFn, height: int = 5, width: int = 6) -> Region:
    top, left = draw(st.integers(0, height)), draw(st.integers(0, width))
    size = draw(st.integers(0, height - top)), draw(st.integers(0, width - left))
    values = draw(st.lists(st.booleans(), min_size=size[0] * size[1], max_size=size[0] * size[1]))
    return Region(top, left, np.array(values, bool).reshape(size))


@given(st.lists(st.tuples(regions(), st.sampled_from([0, 1, 8, 9, 255])), max_size=6))
def test_the_last_region_that_holds_a_pixel_owns_it(drawn) -> None:
    """Pixel by pixel, as one would do by hand. Void and the class of unlabelled pixels, 9, are no objects."""
    canvas = Canvas(5, 6, 9)
    for region, value in drawn:
        canvas.draw(value, region)
    covered, empty = 0, 0
    mask, objects = np.full((5, 6), 9), np.zeros((5, 6), int)
    number = 0
    for region, value in drawn:
        is_object = value not in (9, 255)
        number += is_object
        empty += not region.inside.any()
        for y, x in zip(*np.nonzero(region.inside), strict=True):
            place = region.top + y, region.left + x
            covered += objects[place] > 0
            mask[place], objects[place] = value, number if is_object else 0

    assert np.array_equal(mask, canvas.mask)
    assert np.array_equal(objects, canvas.objects)
    assert (np.uint8, np.uint16) == (canvas.mask.dtype, canvas.objects.dtype)
    assert (covered, empty, number) == (canvas.covered, canvas.empty, canvas.drawn)
    assert number == shapes.count_objects(bytearray(value for _, value in drawn), 9)


def test_a_region_may_be_part_of_an_object_drawn_before() -> None:
    canvas = Canvas(1, 4, 255)
    first = canvas.draw(0, Region(0, 0, np.ones((1, 1), bool)))
    canvas.draw(1, Region(0, 1, np.ones((1, 2), bool)))
    canvas.draw(0, Region(0, 2, np.ones((1, 2), bool)), part_of=first)

    assert [[1, 2, 1, 1]] == canvas.objects.tolist()
    assert (2, 1) == (canvas.drawn, canvas.covered)


@pytest.mark.parametrize(
    ("polygon", "fault"),
    [
        (points(0, 0, 4, 0, 4, 4), None),
        (points(-3, -3, 90, -3, 90, 90), None),  # is cut off
        (points(0, 0, 2, 2, 2, 0, 0, 2), None),  # a bow tie: its halves would cancel
        (points(0, 0, 4, 0), "2 points, expected 3 to"),
        (points(), "0 points"),
        (points(0, 0, 4, float("nan"), 4, 4), "a point that is not finite"),
        (points(0, 0, 4, float("inf"), 4, 4), "a point that is not finite"),
        (points(16, 0, 20, 0, 20, 4), "outside of its image of 16x12 pixels"),
        (points(0, 12, 4, 12, 4, 15), "outside of its image of 16x12 pixels"),
        (points(-4, -4, 0, 0, -4, 0), "outside of its image of 16x12 pixels"),
        (points(0.1, 0.1, 0.7, 0.7, 0.3, 0.3, 5.5, 5.5), "a polygon of zero area"),
        (points(3, 3, 3, 3, 3, 3), "a polygon of zero area"),
        (points(0, 0, 4, 0, 4, 4, 4, 0), "a polygon of zero area"),  # spikes
        (points(0.1, 0.3, 5, 5, 0.1, 0.3, 7.7, 1, 0.1, 0.3, 2, 9.3), "a polygon of zero area"),
        (points(0, 0, 9, 0, 9, 9, 9, 3, 9, 0), "a polygon of zero area"),
        (points(1, 0, 4, 4, 0, 4, 4, 4, 1, 0, 9, 9), "a polygon of zero area"),
        (points(0, 0, 4, 0, 4, 4, 4, 0, 0, 0, 0, 4, 0.5, 3), None),  # a spike of a polygon with an area
        (points(0, 0, 3, 0, 3, 3, 0, 3, 0, 0, 0, -3, -3, -3, -3, 0), None),  # two halves that cancel
        (points(0, 0, 1e308, 0, -1e308, 4), "an outline of inf pixels, expected at most 4000000"),
        (points(0, 0, 3e6, 0, 3e6, 4), "an outline of 6000004 pixels, expected at most 4000000"),
    ],
)
def test_a_polygon_is_drawable_or_its_fault_is_told(polygon, fault) -> None:
    found = shapes.fault_of(polygon, 12, 16)

    assert found is None if fault is None else str(found).startswith(fault)


@pytest.mark.parametrize(
    ("polygon", "crosses"),
    [
        (points(0, 0, 4, 0, 4, 4, 0, 4), False),
        (points(0, 0, 2, 2, 2, 0, 0, 2), True),
        (points(0, 0, 4, 0, 4, 4, 2, 0, 0, 4), False),  # touches its own edge
        (points(0, 0, 4, 0, 4, 4, 2, -0.1, 0, 4), True),
        (points(0, 0, 4, 0, 4, 0, 4, 4), False),  # a point twice
        (points(0, 0, 4, 0, 4, 4), False),
    ],
)
def test_a_polygon_crosses_itself_where_two_edges_do(polygon, crosses) -> None:
    assert crosses == shapes.crosses_itself(polygon)
    assert crosses == shapes.crosses_itself(polygon[::-1])


@given(st.lists(st.tuples(st.floats(1, 9), st.floats(1, 9)), min_size=2, max_size=8), st.integers(0, 20))
def test_an_outline_that_goes_back_the_way_it_came_has_no_area(way, start) -> None:
    outline = np.roll(np.array(way + way[-2:0:-1]), start, axis=0)

    assert shapes.fault_of(outline, 12, 16) in ("a polygon of zero area", "2 points, expected 3 to 2000000")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=8))
def test_a_polygon_with_an_area_is_drawn(corners) -> None:
    """By the winding number of points that no edge of whole numbers goes through."""
    y, x = np.meshgrid(np.arange(0.507, 9, 0.25), np.arange(0.511, 9, 0.25))
    winding = np.zeros(x.shape)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        left = (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0
        winding += ((ay <= y) & (y < by) & left).astype(int) - ((by <= y) & (y < ay) & ~left).astype(int)

    assert not winding.any() or shapes.fault_of(np.array(corners, float), 12, 16) is None


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=8))
def test_crossings_are_those_found_edge_by_edge(corners) -> None:
    def side(a, b, p) -> int:
        return np.sign((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]))

    edges = [*zip(corners, corners[1:] + corners[:1], strict=True)]
    expected = any(
        side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0 for a, b in edges for c, d in edges
    )

    assert expected == shapes.crosses_itself(np.array(corners, float))


def test_faults_are_errors_or_counted() -> None:
    refuse, skip = Faults("refuse"), Faults("skip")
    for faults in (refuse, skip):
        assert faults.passes(points(-5, 0, 4, 0, 4, 4), 12, 16, FILE, "first")
        assert not faults.passes(points(1, 1), 12, 16, FILE, "second")

    assert ["a.json: second: 1 points, expected 3 to 2000000"] == [
        str(each).split(". Correct")[0] for each in refuse.problems()
    ]
    assert [] == skip.problems()
    for faults in (refuse, skip):
        assert faults.notes()[0].startswith(
            "shapes that cannot be drawn are left out: 1, the first: a.json: second: 1 po"
        )
        assert "shapes that reach out of their image are cut off at its edge: 1" == faults.notes()[1]


def test_a_million_faults_are_a_thousand_lines() -> None:
    faults = Faults("refuse")
    for number in range(1500):
        faults.add(FILE, f"shape {number}", "bad")

    assert 1001 == len(faults.problems())
    assert "and 500 more of such shapes" in str(faults.problems()[-1])


def test_what_a_canvas_counted_is_told() -> None:
    faults, canvas = Faults("skip"), Canvas(2, 2, 0)
    for _ in range(2):
        canvas.draw(1, Region(0, 0, np.ones((1, 2), bool)))
    canvas.draw(1, Region(0, 0, np.zeros((0, 0), bool)))
    faults.crossing += 1
    faults.drawn(canvas)

    assert [
        "polygons that cross themselves are drawn by the rule of the labelling tool: 1",
        "shapes so thin that they have no pixel: 1",
        "pixels of objects that later ones cover: 2",
    ] == faults.notes()


def test_images_and_objects_have_limits() -> None:
    assert shapes.too_large(1, 1) is None
    assert shapes.too_large(16384, 32768) is None
    assert shapes.too_large(16384, 32769) == "32769x16384 pixels, expected 1 to 536870912"
    assert shapes.too_large(0, 5) == "5x0 pixels, expected 1 to 536870912"
    assert shapes.too_many(65535) is None
    assert shapes.too_many(65536) == "65536 objects, expected at most 65535"


def test_crossings_are_looked_for_up_to_a_number_of_points_in_a_file(monkeypatch) -> None:
    monkeypatch.setattr(shapes, "_MOST_PAIRS", 40)
    faults, bow_tie = Faults("skip"), points(0, 0, 2, 2, 2, 0, 0, 2)  # of 16 pairs of edges
    for _ in range(9):
        faults.look_for_crossings([bow_tie], FILE)
    faults.look_for_crossings([bow_tie, bow_tie], Path("b.json"))

    assert 3 == faults.crossing
