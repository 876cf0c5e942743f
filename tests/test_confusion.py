"""The picture of an evaluation's confusions."""

import cv2
import numpy as np
import pytest

from jaxcnn.inspection import confusion
from jaxcnn.inspection.confusion import draw_confusion


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved."""
    saved = []
    save = confusion.save_figure
    monkeypatch.setattr(confusion, "save_figure", lambda f, path: (saved.append(f), save(f, path)))
    return saved


def test_confusions_say_how_many(figures, tmp_path):
    matrix = np.array([[8, 2, 0], [0, 0, 0], [1, 1, 3]])
    draw_confusion(matrix, ("a", "b", "a_very_long_name_indeed"), tmp_path / "few.png")
    (axes, _) = figures[0].axes
    counts = {
        (int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axes.texts
    }
    assert counts == {(r, c): str(n) for (r, c), n in np.ndenumerate(matrix) if n}
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares, [[0.8, 0.2, 0], [0, 0, 0], [0.2, 0.2, 0.6]])
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["a", "b", "a_very_long_name_…"]
    draw_confusion(np.eye(1000, dtype=int), [f"n{k}" for k in range(1000)], tmp_path / "many.png")
    assert not figures[1].axes[0].texts
    assert cv2.imread(str(tmp_path / "many.png")).shape[0] > 1000
