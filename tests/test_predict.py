"""The command that predicts: its answers against a plain loop, and images that are none."""

import io
import json
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from networks import apply, initialized
from PIL import Image

from jaxcnn import models
from jaxcnn.cli.commands import main
from jaxcnn.cli.exit_status import run_main
from jaxcnn.data.decode import decode
from jaxcnn.data.views import rescale
from jaxcnn.evaluation.protocols import METHODS, crops, whole
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained import save_weights

pytestmark = pytest.mark.usefixtures("compile_quickly")
CLASSES = ("cat", "dog", "emu", "fox", "gnu", "hen")
SIZE, STRIDE, SCALE = 12, 4, 14
PREPARE = Preprocessing(
    (100.0, 115.0, 120.0),
    (60.0, 61.0, 62.0),
    channel_order="BGR",
    shorter_side=SCALE,
    crop=SIZE,
)
MODEL = models.VGG(
    groups=((64, (3,)), (128, (3,))), num_classes=6, width=4, hidden=(8,), pooled_size=3
)


def weights_file(path, model=MODEL, shape=(1, SIZE, SIZE, 3), **known):
    variables = initialized(model, shape)
    logits = variables["params"]["logits"]
    logits["kernel"] = np.random.default_rng(0).normal(size=logits["kernel"].shape)
    logits["kernel"] = logits["kernel"].astype(np.float32)
    save_weights(path, model, variables, **known)
    return variables


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    variables = weights_file(path, preprocessing=PREPARE, class_names=CLASSES)
    return f"--weights={path}", variables


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures of several shapes in a folder, one of them below."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for number, shape in enumerate([(20, 30), (30, 20), (14, 14)]):
        place = root / ("below" if number == 1 else "") / f"{number}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (*shape, 3), np.uint8)).save(place)
    return root


def predict(capsys, *words, status=0):
    """The lines on stdout and on stderr."""
    assert run_main(main, "jaxcnn", ["predict", *map(str, words)]) == status
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


def answer(path, variables, protocol, scales):
    """The probabilities of an image, one view after another."""
    every = []
    for method in METHODS[protocol]:
        for scale in scales:
            image = rescale(decode(path.read_bytes(), 3), scale)
            if method == "dense":
                views = [whole(image, STRIDE), whole(image, STRIDE)[:, ::-1]]
            else:
                views = crops(image, method, SIZE)
            of_views = []
            for view in views:
                given = (view[..., ::-1].astype(np.float32) - PREPARE.mean) / PREPARE.std
                dense = {"dense": True} if method == "dense" else {}
                scores = apply(MODEL, variables, given[None].astype(np.float32), **dense)
                scores = scores.mean(axis=(1, 2)) if method == "dense" else scores
                of_views.append(jax.nn.softmax(scores)[0])
            every.append(np.mean(of_views, axis=0))
    return np.mean(every, axis=0)


@pytest.mark.parametrize(
    ("protocol", "scales"),
    [("center", ()), ("ten_crop", (13, 16)), ("dense", (16,)), ("dense+multi_crop", (16,))],
)
def test_answers_are_those_of_a_plain_loop(protocol, scales, network, photos, capsys):
    weights, variables = network
    extra = [f"--scales={','.join(map(str, scales))}"] if scales else []
    words = ["vgg11", weights, f"--protocol={protocol}", *extra, "--json", photos, "--top=6"]
    lines, errors = predict(capsys, *words)
    assert errors == []
    paths = [photos / "0.png", photos / "2.png", photos / "below" / "1.png"]
    records = [json.loads(line) for line in lines]
    assert [record["image"] for record in records] == list(map(str, paths))
    for path, record in zip(paths, records, strict=True):
        expected = answer(path, variables, protocol, scales or (SCALE,))
        found = {each["class"]: each["probability"] for each in record["top"]}
        np.testing.assert_allclose([found[k] for k in range(6)], expected, rtol=1e-4, atol=1e-6)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert all(each["name"] == CLASSES[each["class"]] for each in record["top"])


def test_people_get_a_table(network, photos, capsys):
    weights, _ = network
    words = ["vgg11", weights, photos / "0.png", "--top=2"]
    (record,), _ = predict(capsys, *words, "--json")
    top = json.loads(record)["top"]
    lines, _ = predict(capsys, *words)
    assert lines == [
        str(photos / "0.png"),
        *(f"  {each['probability']:8.2%}  {each['name']}" for each in top),
    ]
    assert len(top) == 2


def test_images_may_stand_around_the_options(network, photos, capsys):
    weights, _ = network
    lines, _ = predict(
        capsys, "vgg11", photos / "0.png", weights, "--top=1", photos / "2.png", "--json"
    )
    assert [json.loads(line)["image"][-5:] for line in lines] == ["0.png", "2.png"]


def test_an_unreadable_image_is_told_of_and_the_others_are_answered(network, photos, capsys):
    weights, _ = network
    broken = photos.parent / "broken.jpg"
    broken.write_bytes(b"no image")
    words = [broken, photos / "missing.png", photos / "0.png"]
    lines, errors = predict(capsys, "vgg11", weights, "--json", "--quiet", *words, status=2)
    assert [json.loads(line)["image"] for line in lines] == [str(photos / "0.png")]
    assert errors == [
        f"jaxcnn: '{broken}' is not an image in any of the formats JPEG, PNG, BMP, GIF, PPM, TIFF, "
        "WEBP; mend it, or leave it out.",
        f"jaxcnn: {photos / 'missing.png'} cannot be read (No such file or directory).",
    ]


def test_standard_input_is_an_image_or_paths(network, photos, capsys, monkeypatch):
    weights, _ = network
    path = photos / "0.png"
    (expected,), _ = predict(capsys, "vgg11", weights, "--json", path)
    for data, name in ((path.read_bytes(), "standard input"), (f"{path}\n".encode(), str(path))):
        monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))
        (line,), _ = predict(capsys, "vgg11", weights, "--json", "-")
        assert json.loads(line) == {**json.loads(expected), "image": name}


def test_it_reads_a_pipe(network, photos):
    weights, _ = network
    ended = subprocess.run(
        [sys.executable, "-m", "jaxcnn", "predict", "vgg11", weights, "--top=1", "-"],
        input=(photos / "0.png").read_bytes(),
        capture_output=True,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    first, second = ended.stdout.decode().splitlines()
    assert first == "standard input"
    assert second.split()[-1] in CLASSES


def test_images_are_padded_as_the_weights_were_trained_for(tmp_path, capsys):
    """MNIST's 28 x 28 in LeNet-5's 32 x 32, grey."""
    prepare = Preprocessing((0.0,), (255.0,), shorter_side=28, crop=32, padding=2)
    model = models.LeNet5()
    variables = weights_file(tmp_path / "w", model, (1, 32, 32, 1), preprocessing=prepare)
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    words = ["lenet5", f"--weights={tmp_path / 'w'}", tmp_path / "digit.png", "--top=10"]
    (line,), _ = predict(capsys, *words, "--json")
    given = np.pad(pixels, 2)[None, :, :, None].astype(np.float32) / 255
    expected = np.array(jax.nn.softmax(apply(model, variables, given))[0])
    top = json.loads(line)["top"]
    np.testing.assert_allclose(
        [each["probability"] for each in top], expected[[each["class"] for each in top]], rtol=1e-4
    )
    assert {each["name"] for each in top} == {None}
    assert predict(capsys, *words)[0][1].endswith(f"  class {top[0]['class']}")


def test_a_name_out_of_a_file_is_nothing_that_a_terminal_obeys(tmp_path, photos, capsys):
    names = ("\x1b[2Jcat", *CLASSES[1:])
    weights_file(tmp_path / "w", preprocessing=PREPARE, class_names=names)
    words = ["vgg11", f"--weights={tmp_path / 'w'}", photos / "0.png", "--top=6"]
    lines, _ = predict(capsys, *words)
    assert [line.split()[-1] for line in lines if "cat" in line] == ["\\x1b[2Jcat"]
    (line,), _ = predict(capsys, *words, "--json")
    assert names[0] in [each["name"] for each in json.loads(line)["top"]]
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--top=0"], "--top must be 1 or more, not 0."),
        (["--scales=a"], "--scales=a must be whole numbers of pixels, 1 or more."),
        (["--scales=0"], "--scales=0 must be whole numbers"),
        (["--scales=16,16"], "--scales=16,16 names a scale twice."),
        (["--scales=11"], "--scales=11 is too small for crops of 12; give 12 or more."),
        (["--protocol=desne"], "there is no choice of --protocol called 'desne'; did you mean"),
        (["--image-size=0"], "--image-size must be 1 or more, not 0."),
        (["--scales=8", "--protocol=dense"], "images of 8 x 8 are too small for this VGG"),
    ],
)
def test_what_cannot_work_is_refused_before_an_image_is_read(extra, said, network, capsys):
    weights, _ = network
    lines, (error,) = predict(capsys, "vgg11", weights, "missing.png", *extra, status=2)
    assert lines == []
    assert said in error


def test_weights_have_to_say_how_images_are_normalised(tmp_path, capsys):
    weights_file(tmp_path / "w")
    _, (error,) = predict(capsys, "vgg11", f"--weights={tmp_path / 'w'}", "a.png", status=2)
    assert "does not say how images were normalised" in error
    _, (error,) = predict(capsys, "vgg11", "a.png", status=2)
    assert "the following arguments are required: --weights" in error
