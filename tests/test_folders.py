"""Folders of images as a source."""

import pickle
import re

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.sources import Example, open_source
from jaxcnn.errors import UserError


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5, 3), value, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    """Two classes, three suffixes, and files that are no images."""
    root = tmp_path / "pets"
    for split in ("train", "val", "test"):
        for name in ("dog/b.jpg", "dog/a.PNG", "cat/z.JPEG", "cat/.hidden.jpg"):
            picture(root / split / name)
        (root / split / "cat" / "notes.txt").write_text("a cat")
        (root / split / ".cache").mkdir()
        (root / split / "README").write_text("pets")
    return root


def test_reads_in_sorted_order(root):
    source = open_source(str(root), "train")
    assert (source.name, source.class_names, source.channels) == (str(root), ("cat", "dog"), 3)
    paths = [root / "train" / name for name in ("cat/z.JPEG", "dog/a.PNG", "dog/b.jpg")]
    expected = [
        Example(path.read_bytes(), label, str(path))
        for path, label in zip(paths, (0, 1, 1), strict=True)
    ]
    assert list(source) == expected
    assert len(source) == 3
    assert list(pickle.loads(pickle.dumps(source))) == expected


def test_validation_is_val_or_validation(root):
    by_long_name = list(open_source(str(root), "validation"))
    assert by_long_name == list(open_source(str(root), "val"))
    assert by_long_name[0].name == str(root / "val/cat/z.JPEG")
    (root / "val").rename(root / "validation")
    assert len(open_source(str(root), "val")) == 3


def test_relative_paths_and_the_home_folder(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    monkeypatch.chdir(root.parent)
    for path in ("~/pets", "./pets", "pets", "../" + root.parent.name + "/pets"):
        assert len(open_source(path, "test")) == 3, path


def test_a_name_of_tfds_is_not_taken_for_a_folder(root, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.chdir(root.parent)
    root.rename(root.parent / "cifar10")
    with pytest.raises(UserError, match=r"experiments\.prepare cifar10"):
        open_source("cifar10", "train")
    assert len(open_source("./cifar10", "train")) == 3


def error(root, split="train"):
    with pytest.raises(UserError) as caught:
        open_source(str(root), split)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_mistakes(root, tmp_path):
    assert re.match(rf"the data source {tmp_path}/nope does not exist;", error(tmp_path / "nope"))
    assert "is not a folder" in error(root / "train/README")
    assert "has no folder train" in error(tmp_path)
    assert "has no split 'dev'; it has test, train, val (data.train_split, " in error(root, "dev")
    assert "'train[:80%]' is a slice" in error(root, "train[:80%]")
    with pytest.raises(UserError, match="the data source is empty"):
        open_source("", "train")


def test_classes_must_agree(root):
    (root / "test" / "fish").mkdir()
    assert f"{root}/test has a class 'fish' and {root}/train has none" in error(root, "test")
    (root / "test" / "fish").rmdir()
    (root / "train" / "ant").mkdir()
    assert f"{root}/train has a class 'ant' and {root}/test has none" in error(root, "test")


def test_an_empty_class_folder_is_named(root):
    (root / "train" / "ant").mkdir()
    (root / "train" / "ant" / "notes.txt").write_text("no ant")
    assert error(root).startswith(f"the class folder {root}/train/ant has no images (.jpg,")


def test_no_classes(tmp_path):
    (tmp_path / "train").mkdir()
    assert f"{tmp_path}/train has no classes" in error(tmp_path)


def test_a_folder_of_tfds_is_recognised(tmp_path):
    (tmp_path / "cifar10" / "3.0.2").mkdir(parents=True)
    (tmp_path / "cifar10" / "3.0.2" / "dataset_info.json").write_text("{}")
    assert "prepared by TFDS" in error(tmp_path / "cifar10")


def test_an_image_that_has_gone_is_named(root):
    source = open_source(str(root), "train")
    (root / "train/dog/b.jpg").unlink()
    with pytest.raises(UserError, match=r"train/dog/b.jpg cannot be read \(No such file"):
        source[2]
