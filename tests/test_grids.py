"""The layout that all pictures of images share: nothing overlaps, sizes and colours are right."""

import itertools

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from jaxcnn.errors import UserError
from jaxcnn.inspection.grids import Panel, Section, draw_grid
from jaxcnn.inspection.shades import Scale, around_zero, as_rgb, laid_over
from tests.inspected import pictures_of, texts


def panels(count, height, width, caption):
    return [Panel(np.full((height, width), 40 * i, np.uint8), caption) for i in range(count)]


LONG = "a caption that is much longer than a panel is wide and has to be broken, or cut"
SECTIONS = [
    [
        Section(panels(1, 8, 8, LONG), "one", columns=1, side=1.6, lines=2),
        Section(panels(6, 5, 9, "wide " * 9), "a heading that is a good deal too long", columns=3),
    ],
    [Section(panels(3, 12, 4, "Ww"), "high", columns=2, side=0.6), Section(panels(2, 4, 4, ""))],
]
SCALES = (Scale("viridis", 0, 1, "probability"), Scale("RdBu_r", -2.5, 2.5, "output"))


def drawn(tmp_path, monkeypatch, **options):
    figures = pictures_of(monkeypatch)
    path = tmp_path / "grid.png"
    draw_grid(SECTIONS, path, title="network: layer " * 6, note="what it shows " * 30, **options)
    return figures[-1], path


def test_nothing_overlaps_and_nothing_is_cut_off(tmp_path, monkeypatch):
    figure, _ = drawn(tmp_path, monkeypatch, scales=SCALES)
    renderer = FigureCanvasAgg(figure).get_renderer()
    (axes,) = figure.axes
    boxes = [each.get_window_extent(renderer) for each in (*axes.texts, *axes.images)]
    assert len(axes.images) == 12 + len(SCALES)
    for one, other in itertools.combinations(boxes, 2):
        assert not one.padded(-0.5).overlaps(other.padded(-0.5))
    for box in boxes:
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1
    lines = texts(figure)
    assert {"one", "high", "−2.5", "2.5", "probability", "output"} <= set(lines)
    assert any(line.endswith("…") for line in lines)


def test_pictures_keep_their_shape_and_their_pixels(tmp_path, monkeypatch):
    figure, path = drawn(tmp_path, monkeypatch)
    image = cv2.imread(str(path))
    for drawn_image in figure.axes[0].images:
        left, right, bottom, top = drawn_image.get_extent()
        height, width = drawn_image.get_array().shape[:2]
        assert (bottom - top) / (right - left) == pytest.approx(height / width)
        middle = image[int(60 * (top + bottom)), int(60 * (left + right))]
        assert middle.tolist() == drawn_image.get_array()[0, 0].tolist()


def test_pictures_of_one_scale_are_as_large_as_they_have_pixels(tmp_path, monkeypatch):
    figures = pictures_of(monkeypatch)
    sizes = (28, 10, 6)
    section = Section([Panel(np.zeros((n, n), np.uint8)) for n in sizes], side=2.0, pixels=28)
    draw_grid([[section]], tmp_path / "a.png", title="t")
    widths = [e[1] - e[0] for e in (i.get_extent() for i in figures[0].axes[0].images)]
    np.testing.assert_allclose(widths, [2, 2 * 10 / 28, 2 * 6 / 28])


def test_the_same_picture_is_the_same_bytes(tmp_path, monkeypatch):
    _, path = drawn(tmp_path, monkeypatch, scales=SCALES)
    before = path.read_bytes()
    _, path = drawn(tmp_path, monkeypatch, scales=SCALES)
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="cannot be written"):
        draw_grid(SECTIONS, tmp_path / "no" / "grid.png", title="t")


def test_colours_are_what_they_are_said_to_be():
    assert around_zero(np.array([[-2.0, 0, 2, 1]]))[0, :, 0].tolist() == [1, 128, 255, 192]
    assert around_zero(np.array([[-2.0, 0, 2, 9]]), 4)[0, :, 0].tolist() == [64, 128, 192, 255]
    assert around_zero(np.zeros((1, 1)))[0, 0].tolist() == [128, 128, 128]
    grey = Scale("gray", 1.0, 3.0, "")
    assert grey(np.array([[0.0, 1, 3, 5]]))[0, :, 0].tolist() == [0, 0, 255, 255]
    assert Scale("gray", 1.0, 1.0, "")(np.ones((1, 1)))[0, 0].tolist() == [0, 0, 0]
    pixels = as_rgb(np.array([[[30, 60, 90]]], np.uint8))
    over = laid_over(pixels, np.array([[[160, 60, 60]]]), 0.5)
    assert over[0, 0].tolist() == [110, 60, 60]
