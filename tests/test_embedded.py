"""The embedded digits where an image is asked for; scenes and copies made of images."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from experiments import augmented, digit_scenes
from experiments.config import Experiment
from jaxcnn.cli.embedded import is_embedded
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.images import images_of_words
from jaxcnn.data.crops import AugmentConfig, train_view
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.decode import decode
from jaxcnn.data.sources import open_source
from jaxcnn.errors import UserError
from jaxcnn.randomness import Purpose, host_generator
from tests.inspected import pictures_of, texts


def test_a_word_names_a_test_image_or_several_or_all():
    source = open_source("digits", "test")
    (found,) = images_of_words(["digits:7"], 1)
    np.testing.assert_array_equal(found.pixels, decode(source[7].image, 1))
    assert found.name == "digits:7"
    (strip,) = images_of_words(["digits:7+0"], 3)
    assert strip.pixels.shape == (8, 16, 3)
    np.testing.assert_array_equal(strip.pixels[:, 8:, 1], decode(source[0].image, 1)[..., 0])
    names = [name for name, _ in images_of_words(["digits", "digits:1"], 1)]
    assert names == [*(f"digits:{n}" for n in range(len(source))), "digits:1"]
    assert not any(map(is_embedded, ("./digits", "digits/", "digits:", "digits:x", "mydigits")))
    with pytest.raises(UserError, match="no digit digits:0\\+400; the last one is digits:358"):
        list(images_of_words(["digits:0+400"], 1))


def test_a_scene_has_its_digit_somewhere_in_a_photograph():
    digit = np.full((8, 8), 255, np.uint8)
    photograph = np.random.default_rng(0).integers(0, 100, (90, 120, 3)).astype(np.uint8)
    first, again, other = (
        digit_scenes.scene(digit, photograph, 40, np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    # The ink has one colour, its brightest channel at 255, in a square of 0.5 to 0.7 of the side.
    inked = (first == first.reshape(-1, 3)[first.max(axis=-1).argmax()]).all(axis=-1)
    rows, columns = np.nonzero(inked)
    assert first.max() == 255
    for places in (rows, columns):
        assert 20 <= places.max() - places.min() + 1 <= 28
    assert inked.sum() >= 20 * 20
    assert first[~inked].max() < 100


def test_scenes_are_folders_that_every_recipe_takes(tmp_path, capsys, monkeypatch):
    class Few:
        class_names = ("0", "1")

        def __init__(self, split):
            self.images = [open_source("digits", split)[n] for n in (0, 40)]

        def __len__(self):
            return 2

        def __getitem__(self, index):
            image, _, name = self.images[index]
            return image, index, name

    monkeypatch.setattr(digit_scenes, "open_source", lambda name, split: Few(split))
    words = [str(tmp_path / "scenes"), "--size=24", "--copies=2", "--json"]
    assert run_main(digit_scenes.main, "digit_scenes", words) == 0
    assert json.loads(capsys.readouterr().out)["scenes"] == {"train": 4, "validation": 2}
    source = open_source(str(tmp_path / "scenes"), "train")
    assert source.class_names == ("0", "1")
    assert [source[n].label for n in range(4)] == [0, 0, 1, 1]
    assert decode(source[0].image, 3).shape == (24, 24, 3)
    assert run_main(digit_scenes.main, "digit_scenes", words[:1]) == 2
    assert "is there already; remove it" in capsys.readouterr().err
    assert run_main(digit_scenes.main, "digit_scenes", ["--size=8"]) == 2
    assert "size is 8; give 16 to 300 pixels" in capsys.readouterr().err


def test_copies_are_those_of_training():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    config = Experiment(
        data=DataConfig(image_size=24),
        augment=AugmentConfig(scale_min=28, scale_max=40, mixup=0.2),
        seed=5,
    )
    plain = augmented.augmented_copies(image, config, 4)
    assert plain.shape == (4, 24, 24, 3)
    for step in range(4):
        generator = host_generator(5, Purpose.CROP, step, 0)
        expected = train_view(config.augment, 24, generator).apply(image)
        np.testing.assert_array_equal(plain[step], expected)
    assert len({copy.tobytes() for copy in plain}) == 4
    shifted = augmented.augmented_copies(
        image,
        dataclasses.replace(config, augment=dataclasses.replace(config.augment, color_shift=0.1)),
        4,
    )
    # One shift of the colour for each copy, but where it leaves 0 to 255.
    difference = shifted.astype(int) - plain
    inside = (shifted > 0) & (shifted < 255)
    for step in range(4):
        for channel in range(3):
            seen = difference[step, ..., channel][inside[step, ..., channel]]
            assert np.ptp(seen) <= 1
    assert np.abs(difference).max() > 1


def test_the_command_draws_what_a_recipe_does(tmp_path, capsys, monkeypatch):
    figures = pictures_of(monkeypatch)
    path = tmp_path / "a.png"
    words = ["vgg_cifar10", "--config=digits", "--image=digits:3", "--copies=3"]
    assert augmented.main([*words, f"--output={path}"]) == 0
    assert "3 copies of digits:3" in capsys.readouterr().out
    assert cv2.imread(str(path)).shape[2] == 3
    assert len(figures[0].axes[0].images) == 1 + 3
    assert "vgg_cifar10 digits: what training sees of digits:3" in texts(figures[0])
    how = "2 zeros on every side, cropped at random to 32 x 32"
    assert any(how in line for line in texts(figures[0]))
    assert augmented.main([*words, "--copies=0"]) == 2
    assert "--copies=0 must be a number of 1 or more" in capsys.readouterr().err
    assert augmented.main(["vgg_cifar01"]) == 2
    assert "did you mean 'vgg_cifar10'" in capsys.readouterr().err
