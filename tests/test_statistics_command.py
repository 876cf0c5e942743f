import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from experiments import statistics
from jaxcnn.cli.exit_status import run_main
from jaxcnn.data.statistics import Statistics


def command(*arguments):
    return run_main(statistics.main, "statistics", arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve colour pictures of 10 x 14 pixels."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(12):
        generator = np.random.default_rng(number)
        place = root / "train" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (10, 14, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return root


def test_both_splits_of_the_digits_are_those_of_scikit_learn(tmp_path, capsys):
    parts = []
    for split in ("train", "test"):
        output = tmp_path / split / "statistics.json"
        assert command("--source=digits", f"--split={split}", f"--output={output}") == 0
        parts.append(Statistics.from_json(json.loads(output.read_text())))
    counts = [part.images for part in parts]
    assert sum(counts) == 1797
    levels = np.rint(load_digits().images * 255 / 16)
    mean = np.average([part.mean[0] for part in parts], weights=counts)
    assert mean == pytest.approx(levels.mean(), abs=1e-6)
    squares = [part.std[0] ** 2 + part.mean[0] ** 2 for part in parts]
    std = np.sqrt(np.average(squares, weights=counts) - mean**2)
    assert std == pytest.approx(levels.std(), abs=1e-6)
    image_std = np.average([part.image_std[0] for part in parts], weights=counts)
    assert image_std == pytest.approx(levels.std(axis=(1, 2)).mean(), abs=1e-6)
    printed = capsys.readouterr().out
    assert f"{counts[0]:,} images, rescaled to a shorter side of 8" in printed
    assert f"{parts[0].mean[0]:.4f}" in printed


def test_the_table_says_what_the_file_says(folder, tmp_path, capsys):
    output = tmp_path / "statistics.json"
    assert command(f"--source={folder}", "--mean_image", f"--output={output}") == 0
    kept = Statistics.from_json(json.loads(output.read_text()))
    assert kept.images == 12
    assert kept.mean_image.shape == (10, 10, 3)
    printed = capsys.readouterr().out
    for value in (*kept.mean, *kept.std, *kept.image_std):
        assert f"{value:.4f} ({value / 255:.4f})" in printed
    for value, vector in zip(kept.eigenvalues, np.transpose(kept.eigenvectors), strict=True):
        (line,) = [line for line in printed.splitlines() if f"variance {value:.3f}" in line]
        assert line.split()[-3:] == [f"{entry:.5f}" for entry in vector]


def test_size_and_scale_are_those_of_evaluation(folder, tmp_path, capsys):
    output = tmp_path / "statistics.json"
    sized = ("--image_size=6", "--scale=8", "--channels=1")
    assert command(f"--source={folder}", *sized, f"--output={output}") == 0
    assert "shorter side of 8, the centre of 6 x 6" in capsys.readouterr().out
    assert len(json.loads(output.read_text())["mean"]) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--source=digitz"], "did you mean 'digits'?"),
        (["--source=digits", "--split=trian"], "trian"),
        (["--source=digits", "--image_size=0"], "--image_size=0 must be 1 or more."),
        (["--source=digits", "--image_size=9", "--scale=8"], "--scale=8 is too small to crop"),
        (["--source=digits", "--workers=-1"], "workers is -1"),
        (["--source=digits", "--output=/proc/no/where.json"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(arguments, sentence, capsys):
    assert command(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert sentence in printed.err
    assert printed.err.count("\n") == 1


def test_a_damaged_image_stops_it_or_is_skipped(folder, tmp_path, capsys):
    place = tmp_path / "train" / "a"
    place.mkdir(parents=True)
    (place / "0.png").write_bytes((folder / "train/a/0.png").read_bytes())
    (place / "1.png").write_bytes(b"no image")
    sized = (f"--source={tmp_path}", "--image_size=10")
    assert command(*sized) == 2
    assert "1.png' is not an image" in capsys.readouterr().err
    assert command(*sized, "--on_error=skip") == 0
    assert ": 1 image," in capsys.readouterr().out
