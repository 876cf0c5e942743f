"""Every command that draws what a network has learned, run once on a small network."""

import json
import math

import cv2
import numpy as np
import pytest

from jaxcnn.cli.commands import main
from jaxcnn.cli.exit_status import run_main
from jaxcnn.inspection.filters import filter_pictures
from jaxcnn.models import create_model
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained import save_weights
from tests.inspected import pictures_of, texts
from tests.networks import initialized

NAMES = ("zero", "one", "two")


@pytest.fixture(scope="module", autouse=True)
def quickly(compile_quickly):
    return compile_quickly


def saved(folder, name, **fields):
    """The words that name a narrow network with weights, and its variables."""
    model = create_model(name, num_classes=3, hidden=(8,), initialization="he", **fields)
    channels = 3 if name == "alexnet" else 1
    variables = initialized(model, (1, 64, 64, channels))
    preprocessing = Preprocessing((90.0,) * channels, (80.0,) * channels, shorter_side=72, crop=64)
    path = folder / f"{name}.safetensors"
    save_weights(path, model, variables, preprocessing=preprocessing, class_names=NAMES)
    return [name, f"--weights={path}"], variables


@pytest.fixture(scope="module")
def zfnet(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("weights"), "zfnet", width=6, pooled_size=1)


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command that draws: gives its result, what it remarks, the figure and the pixels."""
    figures = pictures_of(monkeypatch)

    def command(*words):
        path = tmp_path / "picture.png"
        assert run_main(main, "jaxcnn", [*words, f"--output={path}", "--json"]) == 0
        out, err = capsys.readouterr()
        return json.loads(out), err, figures[-1], cv2.imread(str(path))[..., ::-1]

    return command


def panel(pixels, figure, number):
    """What the file has where a panel was drawn, without its rim."""
    left, right, bottom, top = figure.axes[0].images[number].get_extent()
    return pixels[
        math.ceil(top * 120) + 1 : int(bottom * 120) - 1,
        math.ceil(left * 120) + 1 : int(right * 120) - 1,
    ]


def means(part, rows, columns):
    """The colours in the middles of the cells of a panel, ``(rows, columns, 3)``."""
    height, width = part.shape[:2]
    at_rows = (np.arange(rows) + 0.5) * height / rows
    at_columns = (np.arange(columns) + 0.5) * width / columns
    return part[at_rows.astype(int)][:, at_columns.astype(int)]


def test_filters(run, zfnet):
    words, variables = zfnet
    record, _, figure, pixels = run("filters", *words)
    kernel = np.asarray(variables["params"]["conv1"]["kernel"])
    assert record["shape"] == [7, 7, 1, 6]
    assert len(figure.axes[0].images) == 6
    expected = filter_pictures(kernel)
    for number in range(6):
        found = means(panel(pixels, figure, number), 7, 7).astype(int)
        np.testing.assert_allclose(found, expected[number], atol=1)
    assert "zfnet: filters of conv1" in texts(figure)
    record, _, figure, _ = run("filters", *words, "--layer=conv2", "--channel=3")
    assert (record["layer"], len(figure.axes[0].images)) == ("conv2", 6)


def test_alexnet_has_its_filters_in_two_groups(run, tmp_path):
    words, _ = saved(tmp_path, "alexnet", width=12, pooled_size=1)
    record, _, figure, pixels = run("filters", *words)
    assert record["shape"] == [11, 11, 3, 12]
    assert {"group 1", "group 2"} <= set(texts(figure))
    lefts = [image.get_extent()[0] for image in figure.axes[0].images]
    assert len(lefts) == 12
    assert max(lefts[:6]) < min(lefts[6:])
    # Coloured: some pixel of a filter is far from grey.
    assert np.ptp(panel(pixels, figure, 0).astype(int), axis=-1).max() > 60


def test_random_weights_are_remarked_and_named(run):
    _, remarks, figure, _ = run("filters", "lenet5", "--seed=3")
    assert "lenet5 has random weights" in remarks
    assert "lenet5 (random weights, seed 3): filters of c1" in texts(figure)


def test_convolution(run):
    record, _, figure, pixels = run("convolution", "digits:3")
    assert record["rows"] == {
        "kernel": [28, 26, 24],
        "stride": [28, 10, 6],
        "padding": [28, 30, 32],
    }
    shapes = [image.get_array().shape[0] for image in figure.axes[0].images]
    assert shapes == [n for row in record["rows"].values() for n in row for _ in range(4)]
    # All at one size of a pixel.
    sizes = [e[1] - e[0] for e in (i.get_extent() for i in figure.axes[0].images)]
    np.testing.assert_allclose(np.divide(sizes, shapes), sizes[0] / 28)
    assert pixels.shape[1] == pytest.approx(120 * figure.get_figwidth(), abs=1)


def test_maps(run, zfnet):
    words, *_ = zfnet
    record, _, figure, pixels = run("maps", *words, "--layer=relu2", "--channels=1,5-7", "digits:2")
    assert record["shape"] == [6, 6, 16]
    assert {"1", "5", "6", "7", "relu2: channels", "output of relu2"} <= set(texts(figure))
    # The image, four maps and the bar of their colours.
    assert len(figure.axes[0].images) == 6
    assert means(panel(pixels, figure, 1), 6, 6).shape == (6, 6, 3)


def test_deconvnet(run, zfnet):
    words, *_ = zfnet
    record, _, figure, pixels = run("deconvnet", *words, "--layer=relu3", "digits:2")
    assert len(record["channels"]) == len(figure.axes[0].images) - 1 == 12
    assert record["activations"] == sorted(record["activations"], reverse=True)
    assert record["activations"][0] > 0
    # Grey where nothing comes from; an extreme where the most does.
    first = panel(pixels, figure, 1)
    assert {int(first.min()), int(first.max())} & {1, 255}
    assert run("deconvnet", *words, "--layer=fc6", "--rule=guided", "--channels=0")[0][
        "channels"
    ] == [0]


def test_strongest(run, zfnet, tmp_path):
    words, *_ = zfnet
    generator = np.random.default_rng(0)
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), generator.integers(0, 256, (64, 80), np.uint8))
    record, _, figure, _ = run(
        "strongest",
        *words,
        "--layer=relu2",
        "--channels=2,4",
        "--count=3",
        str(tmp_path),
        "digits:1+2",
    )
    assert {*record["images"]} == {"2", "4"}
    for found in record["images"].values():
        values = [each["activation"] for each in found]
        assert values == sorted(values, reverse=True)
        assert len({each["image"] for each in found}) == 3
    assert len(figure.axes[0].images) == 2 * 2 * 3
    assert any("6 images" in line for line in texts(figure))


def test_occlusion(run, zfnet):
    words, *_ = zfnet
    record, remarks, figure, _ = run("occlusion", *words, "digits:2", "--size=24", "--stride=20")
    assert np.shape(record["probability"]) == (3, 3)
    assert (record["layer"], record["class"] in NAMES) == ("relu5", True)
    assert record["class"] in remarks
    assert len(figure.axes[0].images) == 5 + 2


def test_saliency(run, zfnet):
    words, *_ = zfnet
    record, remarks, figure, _ = run("saliency", *words, "digits:2", "--class=two")
    assert (record["class"], remarks) == ("two", "")
    assert len(figure.axes[0].images) == 3 + 1


def test_gradcam(run, zfnet):
    words, *_ = zfnet
    record, _, figure, _ = run("gradcam", *words, "digits:2", "--layer=relu2", "--class=1")
    assert (record["class"], record["shape"]) == ("one", [6, 6])
    assert "relu2: 6 x 6" in texts(figure)


def test_classmap(run, zfnet):
    words, *_ = zfnet
    record, _, figure, _ = run("classmap", *words, "digits:2+3", "--scale=128", "--classes=zero,2")
    assert np.shape(record["answers"]) == (3, 7)
    assert (record["window"], record["stride"]) == (64, 32)
    assert [line.partition(":")[0] for line in texts(figure) if ": up to" in line] == [
        "zero",
        "two",
    ]


def test_inside(run, zfnet):
    words, *_ = zfnet
    record, _, figure, pixels = run("inside", *words, "digits:2", "--class=two")
    assert record["layers"][0] == "conv1"
    headings = {"image", "conv1: filters", "relu5: maps", "what 'two' depends on"}
    assert headings <= set(texts(figure))
    assert {"saliency", "Grad-CAM", "occlusion", "relu1", "relu5"} <= {
        line.partition(",")[0] for line in texts(figure)
    }
    assert 1200 < pixels.shape[1] < 2400


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["maps", "lenet5", "--layer=tahn1"],
            "feature of this network 'tahn1'; did you mean 'tanh1'?",
        ),
        (["maps", "lenet5", "--layer=f6"], "layer 'f6' comes after the maps"),
        (
            ["maps", "lenet5", "--layer=c1", "--channels=6"],
            "layer 'c1' has no channel 6; they are 0",
        ),
        (
            ["maps", "lenet5", "--layer=c1", "--channels=a"],
            "'a' is no list of channels such as 3,7",
        ),
        (
            ["maps", "lenet5", "--layer=c1", "--channels=0-9999999999"],
            "'0-9999999999' is no list of channels such as 3,7",
        ),
        (["saliency", "lenet5", "--in-channels=2", "digits:1"], "--in-channels must be 1, for"),
        (["saliency", "lenet5", "--seed=99999999999", "digits:1"], "is no whole number from 0 to"),
        (
            ["filters", "lenet5", "--layer=c2"],
            "there is no convolution of this network 'c2'; did you",
        ),
        (
            ["filters", "lenet5", "--layer=c3"],
            "filters of 6 inputs are no pictures; choose an output",
        ),
        (["filters", "lenet5", "--output=a.jpg"], "--output=a.jpg must end in .png"),
        (["saliency", "lenet5", "digits"], "'digits' is more than one image; name one, such as"),
        (
            ["saliency", "lenet5", "digits:359"],
            "there is no digit digits:359; the last one is digits:358",
        ),
        (["saliency", "lenet5", "--class=ten"], "there is no class 'ten'; choose one of: 0, 1, 2"),
        (["classmap", "lenet5"], "LeNet5 has no dense form"),
        (["convolution", "--kernels=40"], "a kernel of 40 does not fit an image of 28 pixels"),
        (["occlusion", "lenet5", "--grey=300"], "--grey is 300; give 0 (black) to 255 (white)."),
        (
            ["deconvnet", "lenet5", "--layer=c3", "--rule=x"],
            "there is no choice of --rule called 'x'",
        ),
    ],
)
def test_a_mistake_is_one_sentence(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_main(main, "jaxcnn", [*words, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
