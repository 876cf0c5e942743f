"""The images that a command line names: files, folders, standard input; lazily, in order."""

import io
import os
import types

import numpy as np
import pytest
from PIL import Image

from jaxcnn.cli.images import files_of_words, images_of_words
from jaxcnn.errors import UserError


def png(level, mode="RGB", image_format="png"):
    file = io.BytesIO()
    Image.new(mode, (5, 4), (level,) * len(mode)).save(file, image_format)
    return file.getvalue()


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for level, path in enumerate(("b/2.PNG", "b/a/1.png", "b/.hidden/3.png", "a.png", "odd.gif")):
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(level, image_format="gif" if path.endswith("gif") else "png"))
    (tmp_path / "b" / "notes.txt").write_text("no image")
    (tmp_path / "b" / "broken.jpg").write_bytes(b"no image")
    return tmp_path


def standard_input(monkeypatch, data):
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))


def test_files_folders_and_what_lies_below_come_in_order(photos):
    said = []
    found = list(images_of_words(["a.png", "b", "odd.gif"], 3, trouble=lambda e: said.append(e)))
    assert [image.name for image in found] == ["a.png", "b/2.PNG", "b/a/1.png", "odd.gif"]
    assert [image.pixels[0, 0, 0] for image in found] == [3, 0, 1, 4]
    assert {image.pixels.shape for image in found} == {(4, 5, 3)}
    assert [str(error) for error in said] == [
        "'b/broken.jpg' is not an image in any of the formats JPEG, PNG, BMP, GIF, PPM, TIFF, "
        "WEBP; mend it, or leave it out."
    ]
    assert next(images_of_words(["a.png"], 1)).pixels.shape == (4, 5, 1)


def test_an_image_is_read_when_it_is_asked_for(photos):
    found = files_of_words(["a.png", "missing.png"])
    assert next(found).data == png(3)
    with pytest.raises(UserError, match=r"^missing\.png cannot be read"):
        next(found)


def test_trouble_is_told_and_the_others_still_come(photos):
    said = []
    (photos / "empty").mkdir()
    words = ["missing.png", "empty", "a.png"]
    assert [f.name for f in files_of_words(words, trouble=said.append)] == ["a.png"]
    assert "No such file" in str(said[0])
    assert "the folder empty has no images (.jpg" in str(said[1])


@pytest.mark.parametrize("image_format", ["png", "jpeg", "gif", "bmp", "ppm", "tiff", "webp"])
def test_standard_input_may_be_an_image(image_format, monkeypatch):
    standard_input(monkeypatch, png(7, image_format=image_format))
    (image,) = images_of_words(["-"], 3)
    assert image.name == "standard input"
    assert np.abs(image.pixels.astype(int) - 7).max() <= 1


@pytest.mark.parametrize("name", ["BM.png", "P6.png", "GIF89a", "II*", "ümlaut.png", " gap .png"])
def test_standard_input_may_be_paths_whatever_they_begin_with(name, photos, monkeypatch):
    os.rename("a.png", name)
    standard_input(monkeypatch, f"{name}\r\n\nb/a\n".encode())
    assert [image.name for image in images_of_words(["-"], 3)] == [name, "b/a/1.png"]


def test_standard_input_that_is_neither_is_refused(photos, monkeypatch):
    for data, said in (
        (b" \n", "standard input is empty"),
        (png(3)[:30], "'standard input' is not an image in any of the formats"),
        (b"a.pgn\n", "a.pgn cannot be read"),
    ):
        standard_input(monkeypatch, data)
        with pytest.raises(UserError, match=said):
            list(images_of_words(["-"], 3))
