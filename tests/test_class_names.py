"""ImageNet's class names: complete, in the order of the logits, and put where they belong."""

import tomllib
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from test_pretrained import NAMINGS, load, narrow, random_tensors

from experiments.ensemble import class_names_of
from jaxcnn.errors import UserError
from jaxcnn.pretrained import class_names
from jaxcnn.pretrained.class_names import imagenet_ids, imagenet_names, same_classes
from jaxcnn.pretrained.fitting import in_head


def test_the_ids_are_those_of_the_data_set_in_its_order():
    builder = tfds.builder("imagenet2012", data_dir="nowhere")
    assert imagenet_ids() == tuple(builder.info.features["label"].names)


def test_every_class_has_a_name_of_its_own():
    names = imagenet_names()
    assert len(names) == len(set(names)) == class_names.IMAGENET_CLASSES
    assert all(name == name.strip() and name for name in names)


@pytest.mark.parametrize(
    ("number", "name"),
    # Numbers that are known by heart, from the first class to the last, both cranes among them.
    [
        (0, "tench"),
        (1, "goldfish"),
        (134, "crane bird"),
        (207, "golden retriever"),
        (281, "tabby"),
        (388, "giant panda"),
        (517, "crane"),
        (639, "maillot tank suit"),
        (817, "sports car"),
        (999, "toilet tissue"),
    ],
)
def test_names_are_at_the_usual_numbers(number, name):
    assert imagenet_names()[number] == name


def test_names_and_ids_name_the_same_classes():
    names, ids = imagenet_names(), imagenet_ids()
    assert same_classes(names, ids)
    assert same_classes(list(ids), names)
    assert same_classes(["cat"], ("cat",))
    assert not same_classes(names, ids[::-1])
    assert not same_classes(names[:10], ids[:10])  # a part has other logits
    assert not same_classes(("cat",), ("dog",))


def test_an_evaluation_takes_names_and_ids_for_the_same():
    member = types.SimpleNamespace(title="it", class_names=imagenet_names(), num_classes=1000)
    images = types.SimpleNamespace(name="imagenet2012", class_names=imagenet_ids())
    assert class_names_of([member], images) == imagenet_ids()
    images.class_names = imagenet_ids()[:999]
    with pytest.raises(UserError, match="which are not the same"):
        class_names_of([member], images)


@pytest.mark.parametrize(
    ("library", "name"), [("torchvision", "vgg11"), ("timm", "vgg11"), ("keras", "vgg16")]
)
def test_weights_of_others_with_as_many_classes_are_imagenets(library, name, monkeypatch):
    kind = {"keras": "keras"}.get(library, "torch")
    fields = {"width": 4, "hidden": (4, 4)}

    def loaded(classes, **arguments):
        tensors = random_tensors(narrow(name, num_classes=classes, **fields), library)
        return load(monkeypatch, name, tensors, kind, **fields, **arguments)

    assert loaded(1000).class_names == imagenet_names()
    assert loaded(1000, num_classes=1000).class_names == imagenet_names()
    assert loaded(1000, num_classes=7).class_names is None
    assert loaded(999).class_names is None


def test_a_head_that_is_drawn_has_no_names(monkeypatch):
    model = narrow("vgg16", width=4, hidden=(4, 4), num_classes=1000)
    entries = NAMINGS["keras"].entries(model)
    head = {key for entry in entries if in_head(entry.path) for key in entry.keys}
    body = {k: v for k, v in random_tensors(model, "keras").items() if k not in head}
    loaded = load(monkeypatch, "vgg16", body, "keras", width=4, hidden=(4, 4))
    assert loaded.model.num_classes == 1000
    assert loaded.class_names is None
    assert np.shape(loaded.variables["params"]["logits"]["bias"]) == (1000,)


def test_what_is_not_code_is_in_the_package_too():
    root = Path(__file__).parents[1]
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    declared = {
        path
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for path in root.joinpath(*package.split(".")).glob(pattern)
    }
    found = {
        path
        for path in (root / "jaxcnn").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert found == declared
    assert root / "jaxcnn" / "pretrained" / "imagenet_classes.txt" in found
