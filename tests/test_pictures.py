"""The curves and the batch as pictures: what must be seen is there, and apart."""

import itertools
import math

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from jaxcnn.errors import UserError
from jaxcnn.inspection import grids, pictures
from jaxcnn.inspection.batch import draw_batch
from jaxcnn.inspection.pictures import draw_curves


def metrics(epochs: int) -> list[dict]:
    lines = []
    for epoch in range(1, epochs + 1):
        at = {"step": 10 * epoch, "epoch": float(epoch), "loss": 2 / epoch, "accuracy": 0.5}
        lines += [
            {**at, "kind": "train", "epoch": epoch - 0.5, "learning_rate": 0.1},
            {**at, "kind": "train", "learning_rate": 0.1},
            {**at, "kind": "epoch"},
            {**at, "kind": "eval", "accuracy": 0.8, "top5": 0.9},
        ]
    return lines


def pixels(path, color: str) -> int:
    """How many pixels of a picture have exactly a colour."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return int((cv2.imread(str(path)) == (blue, green, red)).all(axis=-1).sum())


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved."""
    saved = []
    save = pictures.save_figure
    for module in (grids, pictures):
        monkeypatch.setattr(module, "save_figure", lambda f, path: (saved.append(f), save(f, path)))
    return saved


@pytest.mark.parametrize("epochs", [1, 3, 100])
def test_curves_show_training_and_evaluation(epochs, tmp_path):
    path = tmp_path / "curves.png"
    draw_curves(metrics(epochs), path)
    training_only = tmp_path / "training.png"
    draw_curves([line for line in metrics(epochs) if line["kind"] != "eval"], training_only)
    assert pixels(training_only, pictures.EVALUATION) == 0
    assert pixels(path, pictures.EVALUATION) > 100
    assert pixels(path, pictures.TRAINING) > 100
    assert {file.name for file in tmp_path.iterdir()} == {"curves.png", "training.png"}


def test_curves_say_what_they_show(figures, tmp_path):
    draw_curves(metrics(3), tmp_path / "curves.png", title="vgg_imagenet digits")
    (figure,) = figures
    loss, accuracy = figure.axes
    assert figure.get_suptitle() == "vgg_imagenet digits"
    assert (loss.get_title(), accuracy.get_title()) == ("Loss", "Accuracy")
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epochs", "cross-entropy (nats per image)")
    assert accuracy.get_ylabel() == "images classified correctly (%)"
    drawn = {line.get_label(): line.get_xydata().tolist() for line in accuracy.lines}
    assert drawn["evaluation"] == [[1, 80], [2, 80], [3, 80]]
    assert drawn["evaluation, top 5"] == [[1, 90], [2, 90], [3, 90]]
    assert drawn["training, epoch"] == [[1, 50], [2, 50], [3, 50]]
    assert len(drawn["training, some steps"]) == 6


def test_curves_of_nothing_and_of_what_is_no_number(tmp_path):
    draw_curves([], tmp_path / "curves.png")
    lines = metrics(2)
    lines[0]["loss"], lines[4]["loss"] = math.nan, math.inf
    draw_curves(lines, tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")).shape[2] == 3


def test_the_same_picture_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        draw_curves(metrics(3), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 5, 11, 64])
def test_a_batch_shows_each_image_over_its_colours(count, channels, tmp_path):
    images = np.zeros((count, 6, 9, channels), np.uint8)
    images[...] = np.array([0x11, 0x77, 0xEE])[:channels]
    path = tmp_path / "batch.png"
    draw_batch(images, np.arange(count) % 3, ["x", "y", "z"], path, columns=4, rows=4)
    color = "#1177EE" if channels == 3 else "#111111"
    expected = min(count, 16) * (1.3 * 120) * (1.3 * 120 * 6 / 9)
    assert pixels(path, color) == pytest.approx(expected, rel=0.03)


def test_names_do_not_overlap(figures, tmp_path):
    names = [
        "a_golden_retriever_of_a_very_long_name_indeed",
        "W" * 17 + " " + "W" * 17,
        "x" * 80,
        "$cash_and $more",
        "n01440764",
    ]
    images = np.zeros((10, 8, 8, 1), np.uint8)
    draw_batch(images, np.arange(10) % 5, names, tmp_path / "batch.png", columns=5)
    (figure,) = figures
    renderer = FigureCanvasAgg(figure).get_renderer()
    (axes,) = figure.axes
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    boxes += [image.get_window_extent(renderer) for image in axes.images]
    assert len(boxes) == 21
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_a_picture_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"no/curves\.png cannot be written \(No such file"):
        draw_curves(metrics(1), tmp_path / "no" / "curves.png")
