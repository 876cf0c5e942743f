"""The benchmark of input: its images, its arithmetic, and a round of it."""

import importlib.util
import io
import json

import numpy as np
import pytest
from PIL import Image

from experiments import input_benchmark
from experiments.input_images import NAME, photograph, write_photographs
from jaxcnn.cli.exit_status import run_main
from jaxcnn.data.prepared import PreparedSource


def run(capsys, *arguments):
    code = run_main(input_benchmark.main, "input_benchmark", arguments)
    return code, *capsys.readouterr()


def test_the_images_are_always_the_same_and_like_photographs(tmp_path):
    write_photographs(tmp_path, 4)
    source = PreparedSource(NAME, "train", data_dir=str(tmp_path))
    sizes = [len(source[index].image) for index in range(4)]
    assert 50_000 < np.mean(sizes) < 100_000
    assert [source[index].label for index in range(4)] == [0, 1, 0, 1]
    image = Image.open(io.BytesIO(source[3].image))
    assert image.size == (500, 375)
    np.testing.assert_array_equal(photograph(3), photograph(3))
    assert np.abs(np.asarray(image).astype(int) - photograph(3)).mean() < 4
    assert (photograph(3) != photograph(2)).mean() > 0.9


def test_a_ratio_is_of_the_same_round_and_not_told_from_1_where_it_varies_around_it():
    assert input_benchmark.ratio([20, 30, 60], [10, 10, 30]) == {
        "median": 2,
        "least": 2,
        "most": 3,
    }
    assert input_benchmark.ratio([5, 4], [10, 10]) == {"median": 0.45, "least": 0.4, "most": 0.5}
    assert input_benchmark.ratio([9, 20, 30], [10, 10, 10]) is None
    assert input_benchmark.ratio([10, 20], [10, 10]) is None


def test_a_small_run(capsys, tmp_path, monkeypatch):
    """Our own reader of pixels, in its process, against a peer that is only made up."""
    measured = input_benchmark.measure

    def with_a_peer(root, pairs, options):
        assert pairs == [("jaxcnn", "side256_raw")]
        found = measured(root, pairs, options)
        peer = [each | {"cpu_seconds": 4 * each["cpu_seconds"]} for each in found[pairs[0]]]
        return found | {("tfdata", "originals"): peer}

    monkeypatch.setattr(input_benchmark, "measure", with_a_peer)
    output = tmp_path / "input.json"
    sizes = ("--images=8", "--batch_size=4", "--images_per_round=8", "--rounds=2")
    code, out, errors = run(capsys, *sizes, "--forms=side256_raw", f"--output={output}")
    assert code == 0, errors
    first, second, *rest = out.splitlines()
    ours, peer = json.loads(first), json.loads(second)
    result = json.loads(output.read_text())
    assert result["results"] == [ours, peer]
    assert result["versions"]["turbojpeg"]
    assert (ours["reader"], ours["form"], ours["rounds"]) == ("jaxcnn", "side256_raw", 2)
    assert ours["kilobytes_per_image"] == pytest.approx(341 * 256 * 3 / 1000, rel=0.01)
    rate = ours["images_per_cpu_second"]
    assert 0 < rate["least"] <= rate["median"] <= rate["most"]
    for needed, cores in ours["cores_needed"].items():
        assert cores == pytest.approx(float(needed) / rate["median"], abs=0.1)
    assert ours["times_tfdata_of_originals"]["median"] == pytest.approx(4)
    assert "times_tfdata_of_originals" not in peer
    assert len(rest) == 3
    assert rest[0].split()[:4] == ["reader", "form", "KB", "images/CPU-s"]
    assert "4.00" in rest[1]


def test_mistakes(capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name in ("tensorflow", "torchvision") else found(name, *a),
    )
    for arguments, sentence in [
        (["--compare=tfdata"], "needs tensorflow: `pip install tensorflow-cpu`."),
        (["--compare=torch"], "needs torchvision: `pip install torch torchvision`."),
        (["--compare=dali"], "--compare"),
        (["--forms=png"], "--forms"),
        (["--rounds=0"], "--rounds=0 must be 1 or more."),
        (["--images=8"], "--images=8 do not fill one --batch_size."),
    ]:
        code, out, errors = run(capsys, *arguments)
        assert (code, out) == (2, "")
        assert sentence in errors
        assert errors.count("\n") == 1


def test_a_reader_that_fails_says_why(tmp_path, monkeypatch):
    settings = input_benchmark.Settings("jaxcnn", "nothing", str(tmp_path), 4, 1)
    with (
        pytest.raises(ValueError, match=r"^jaxcnn could not read its images: .*'nothing'"),
        input_benchmark._contestant(settings) as process,
    ):
        process.tell([0, 1])
