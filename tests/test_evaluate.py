"""The command that evaluates: against a plain loop, on pictures of odd sizes and on a run."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from command_run import finish
from networks import apply, initialized
from PIL import Image

from experiments import ensemble, evaluate, vgg_imagenet
from experiments.commandline import fields_of, undocumented
from experiments.evaluation_config import EvaluateConfig
from experiments.faults.small_run import free_port
from experiments.members import Member
from experiments.run import main as run_recipe
from jaxcnn import models
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.data.decode import decode
from jaxcnn.data.views import rescale
from jaxcnn.evaluation.protocols import METHODS, crops, whole
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained import save_weights

CLASSES = ("cat", "dog", "emu", "fox", "gnu", "hen")
SIZE, STRIDE, SCALES = 12, 4, (13, 16)
pytestmark = pytest.mark.usefixtures("compile_quickly")
PREPARE = Preprocessing((120.0, 115.0, 100.0), (60.0, 61.0, 62.0))
MODEL = models.VGG(
    groups=((64, (3,)), (128, (3,))), num_classes=6, width=4, hidden=(8,), pooled_size=3
)
# Heights and widths: two of every day, smaller than the crop, one pixel wide, a square.
SHAPES = [(20, 30), (30, 20), (7, 9), (1, 40), (14, 14)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(30):
        place = root / "train" / CLASSES[number % 6]
        place.mkdir(parents=True, exist_ok=True)
        shape = SHAPES[number % len(SHAPES)]
        pixels = random.integers(0, 256, (*shape, 3), np.uint8) // (1 + number % 3)
        picture = Image.fromarray(pixels)
        picture.convert("L" if number == 5 else "RGB").save(place / f"{number:02}.png")
    return root


def weights_file(path, seed):
    variables = initialized(MODEL)
    random = np.random.default_rng(seed)
    # A head that does not give one answer to everything.
    logits = variables["params"]["logits"]
    logits["kernel"] = random.normal(size=logits["kernel"].shape).astype(np.float32)
    save_weights(path, MODEL, variables, preprocessing=PREPARE, class_names=CLASSES)
    return variables


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Two files of weights, and the variables in them."""
    root = tmp_path_factory.mktemp("weights")
    paths = [root / f"{seed}.safetensors" for seed in (0, 1)]
    return {str(path): weights_file(path, seed) for seed, path in enumerate(paths)}


def command(folder, files, output, *extra):
    arguments = [
        "--model=vgg11",
        f"--weights={','.join(files)}",
        f"--source={folder}",
        "--split=train",
        f"--image_size={SIZE}",
        f"--scales={','.join(map(str, SCALES))}",
        "--threads=2",
        f"--output={output}",
    ]
    given = {argument.partition("=")[0] for argument in extra}
    return [a for a in arguments if a.partition("=")[0] not in given] + list(extra)


@pytest.fixture
def evaluated(folder, networks, tmp_path):
    """What the command leaves: the result, and the rows of the predictions."""

    def run(*extra, files=None):
        output = tmp_path / "evaluation"
        arguments = command(folder, files or [next(iter(networks))], output, *extra)
        assert run_main(evaluate.main, "evaluate", arguments) == 0
        assert {p.name for p in output.iterdir()} == {
            "result.json",
            "predictions.csv",
            "confusion.png",
        }
        assert [p.name for p in tmp_path.iterdir()] == ["evaluation"]
        with (output / "predictions.csv").open() as file:
            return json.loads((output / "result.json").read_text()), list(csv.DictReader(file))

    return run


def loop(folder, variables, protocol):
    """The probabilities of every image, one view after another."""
    every = []
    for path in sorted((folder / "train").rglob("*.png")):
        of_methods = []
        for method in METHODS[protocol]:
            of_scales = []
            for scale in SCALES:
                image = rescale(decode(path.read_bytes(), 3), scale)
                if method == "dense":
                    views = [whole(image, STRIDE), whole(image, STRIDE)[:, ::-1]]
                else:
                    views = crops(image, method, SIZE)
                softmaxes = []
                for view in views:
                    scores = apply(MODEL, variables, PREPARE(view[None]), dense=method == "dense")
                    mean = np.asarray(scores, np.float64).reshape(-1, 6).mean(axis=0)
                    softmaxes.append(np.exp(mean) / np.exp(mean).sum())
                of_scales.append(np.mean(softmaxes, axis=0))
            of_methods.append(np.mean(of_scales, axis=0))
        every.append((path, np.mean(of_methods, axis=0)))
    return every


def check(result, rows, expected):
    labels = [CLASSES.index(path.parent.name) for path, _ in expected]
    ranks = []
    for row, label, (path, probabilities) in zip(rows, labels, expected, strict=True):
        order = np.argsort(-probabilities)
        ranks.append(list(order).index(label))
        assert row["name"] == str(path)
        assert row["label"] == CLASSES[label]
        for place in range(1, 6):
            k = CLASSES.index(row[f"class_{place}"])
            assert float(row[f"probability_{place}"]) == pytest.approx(probabilities[k], abs=2e-5)
            assert probabilities[k] == pytest.approx(probabilities[order[place - 1]], abs=1e-6)
    assert [int(row["index"]) for row in rows] == list(range(len(expected)))
    assert result["examples"] == len(expected)
    assert result["top1"]["wrong"] == sum(rank >= 1 for rank in ranks)
    assert result["top5"]["wrong"] == sum(rank >= 5 for rank in ranks)
    counts = np.bincount(labels, minlength=6)
    assert [of["count"] for of in result["classes"].values()] == list(counts)
    correct = [sum(r == 0 for r, k in zip(ranks, labels, strict=True) if k == c) for c in range(6)]
    assert [of["correct"] for of in result["classes"].values()] == correct
    assert 0 < result["top1"]["wrong"] < len(expected)


PLACES = [("jit", 1, 1), ("jit", 8, 1000), ("pmap", 2, 7)]  # and the size of a batch


@pytest.mark.parametrize("protocol", METHODS)
def test_it_is_a_plain_loop_on_any_devices(protocol, folder, networks, evaluated):
    (file, variables), *_ = networks.items()
    expected = loop(folder, variables, protocol)
    # The joint protocol evaluates by the code of the two that it joins.
    for mode, devices, batch_size in PLACES[: 1 if "+" in protocol else None]:
        result, rows = evaluated(
            f"--protocol={protocol}",
            f"--parallel={mode}",
            f"--parallel.devices={devices}",
            f"--batch_size={batch_size}",
            files=[file],
        )
        check(result, rows, expected)


def test_an_ensemble_averages_the_softmax_outputs(folder, networks, evaluated, capsys):
    every = [loop(folder, variables, "ten_crop") for variables in networks.values()]
    expected = [
        (path, np.mean([first, second], axis=0))
        for (path, first), (_, second) in zip(*every, strict=True)
    ]
    result, rows = evaluated("--protocol=ten_crop", files=list(networks))
    check(result, rows, expected)
    assert len(result["networks"]) == 2
    assert f"{next(iter(networks))}; vgg11 with" in capsys.readouterr().out


def test_an_image_that_cannot_be_read(folder, networks, tmp_path, evaluated, capsys):
    broken = tmp_path.parent / f"{tmp_path.name}-broken"
    for path in (folder / "train").rglob("*.png"):
        (broken / "train" / path.parent.name).mkdir(parents=True, exist_ok=True)
        os.link(path, broken / "train" / path.parent.name / path.name)
    bad = broken / "train" / "emu" / "aa.png"
    bad.write_bytes(b"nothing")
    arguments = command(broken, [next(iter(networks))], tmp_path / "evaluation")
    assert run_main(evaluate.main, "evaluate", arguments) == 2
    errors = capsys.readouterr().err
    assert str(bad) in errors
    assert "with --on_error=skip" in errors
    assert not list(tmp_path.iterdir())
    result, rows = evaluated(f"--source={broken}", "--on_error=skip")
    assert (result["examples"], result["skipped"]) == (30, 1)
    assert str(bad) not in [row["name"] for row in rows]
    assert "Skipped: 1 images" in capsys.readouterr().out


SHORT = [
    "--config=digits",
    "--config.model.width=2",
    "--config.model.hidden=8",
    "--config.train.epochs=1",
    "--config.train.batch_size=320",
    "--config.parallel.devices=1",
    "--config.data.threads=2",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The work directory of a short run on the digits, and its result."""
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    assert run_recipe(vgg_imagenet.RECIPE, [*SHORT, f"--config.workdir={workdir}"]) == 0
    return workdir, json.loads((workdir / "result.json").read_text())


def test_a_run_has_the_errors_that_its_training_saw(trained, capsys):
    workdir, before = trained
    arguments = [f"--run={workdir}", "--parallel.devices=1", "--threads=2"]
    for _ in range(2):  # the second replaces the first
        assert run_main(evaluate.main, "evaluate", arguments) == 0
    folder = workdir / "evaluation" / "test_center_32"
    result = json.loads((folder / "result.json").read_text())
    assert result["examples"] == before["examples"] == 359
    assert 1 - result["top1"]["error"] == pytest.approx(before["accuracy"], abs=1e-12)
    assert 1 - result["top5"]["error"] == pytest.approx(before["top5"], abs=1e-12)
    assert result["classes"] == before["classes"]
    low, high = result["top1"]["interval"]
    assert low < result["top1"]["error"] < high
    assert result["published"] is None
    output = capsys.readouterr().out
    assert f"top-1 error {result['top1']['error']:.2%} (95 % interval {low:.2%}" in output
    assert "359 images of digits test, by center at Q = 32" in output
    assert str(folder) in output
    assert "ublished" not in output


def test_a_run_goes_on_being_a_run(trained):
    """An evaluation within its work directory is none of its business."""
    workdir, before = trained
    assert run_recipe(vgg_imagenet.RECIPE, [*SHORT, f"--config.workdir={workdir}"]) == 0
    assert json.loads((workdir / "result.json").read_text()) == before


def test_figures_are_shown_on_imagenets_validation_images_only(
    folder, networks, evaluated, monkeypatch, capsys
):
    class ImageNet:
        name, channels, class_names = "imagenet2012", 3, CLASSES

        def __init__(self):
            self.paths = sorted((folder / "train").rglob("*.png"))

        def __len__(self):
            return len(self.paths)

        def __getitem__(self, index):
            path = self.paths[index]
            return path.read_bytes(), CLASSES.index(path.parent.name), path.name

    monkeypatch.setattr(evaluate, "open_source", lambda *_, **__: ImageNet())
    monkeypatch.setattr(evaluate, "IMAGENET_VALIDATION", 30)
    monkeypatch.setattr(Member, "registered", property(lambda self: "vgg16"))
    dense = ("--protocol=dense", "--source=imagenet2012", "--parallel.devices=1", "--scales=16")
    asked = []

    def figures(protocol, scales, members):
        asked.append((protocol, scales))
        return real(protocol, (256,), members)

    real = ensemble.figures_of
    monkeypatch.setattr(evaluate, "figures_of", figures)
    result, _ = evaluated(*dense, "--split=validation")
    assert asked == [("dense", (16,))]
    assert [(row["top1"], row["trained"]) for row in result["published"]] == [(27.0, [256, 256])]
    assert (
        "Published for it: top-1 error 27 %, top-5 error 8.8 % (S = 256, Simonyan & Zisserman "
        "2014, table 3)." in capsys.readouterr().out
    )
    monkeypatch.setattr(evaluate, "figures_of", real)
    assert evaluated(*dense, "--split=validation")[0]["published"] == []
    assert "No figure is published for this network" in capsys.readouterr().out
    assert evaluated(*dense, "--split=train")[0]["published"] is None
    monkeypatch.setattr(ImageNet, "name", "imagenet2012_corrupted")
    assert evaluated(*dense, "--split=validation")[0]["published"] is None
    assert "ublished" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (["--protocol=densse"], "did you mean 'dense'"),
        (["--protocl=dense"], "did you mean '--protocol'"),
        (["dense"], "'dense' is out of place"),
        (["--model=vgg15"], "there is no model 'vgg15'; did you mean 'vgg1"),
        (["--model=vgg11,vgg13"], "--model has 2 names for 1 files"),
        (["--model=resnet18"], "'vgg"),
        (["--weights=nowhere.pth"], "nowhere.pth"),
        (["--run=nowhere"], "nowhere is no work directory of a run"),
        (["--scales=11"], "--scales=11 is too small for crops of 12; give 12 or more"),
        (["--scales=11", "--protocol=dense"], "too small for this VGG with dense=True"),
        (["--scales=16,16"], "names a scale twice"),
        (["--scales=0"], "must be 1 or more"),
        (["--batch_size=0"], "--batch_size=0 must be 1 or more"),
        (["--workers=-1"], "--workers=-1 must be 0 or more"),
        (["--source=nowhere/at/all"], "nowhere/at/all"),
        (["--source=digits", "--split=test"], "knows 6 classes and 'digits' has 10"),
        (["--split=test"], "no split 'test'"),
        (["--parallel.devices=99"], "parallel.devices=99"),
        (["--parallel.model=2"], "--parallel.model is for training"),
        (["--parallel=tmap"], "choose one of jit, pmap"),
    ],
)
def test_a_mistake_is_one_sentence(change, word, folder, networks, tmp_path, capsys):
    arguments = command(folder, [next(iter(networks))], tmp_path / "evaluation", *change)
    assert run_main(evaluate.main, "evaluate", arguments) == 2
    errors = capsys.readouterr().err
    assert word in errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_help_says_what_every_option_means(capsys):
    with pytest.raises(SystemExit) as status:
        evaluate.main(["--help"], Output())
    assert status.value.code == 0
    text = capsys.readouterr().out
    assert not undocumented(EvaluateConfig)
    for field in fields_of(EvaluateConfig()):
        assert f"\n  --{field.name}" in text
    for protocol in METHODS:
        assert f"`{protocol}`" in text


def test_nothing_to_evaluate_and_a_folder_that_is_something_else(
    folder, networks, tmp_path, capsys
):
    assert run_main(evaluate.main, "evaluate", []) == 2
    assert "give --model=NAME --weights=FILE, or --run=WORKDIR" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("mine")
    arguments = command(folder, [next(iter(networks))], tmp_path)
    assert run_main(evaluate.main, "evaluate", arguments) == 2
    assert "is no earlier evaluation" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_network_without_a_fully_convolutional_form(tmp_path, folder, capsys):
    model = models.create_model("lenet5", num_classes=6)
    path = tmp_path / "lenet.safetensors"
    variables = initialized(model, (1, 32, 32, 3))
    save_weights(path, model, variables, preprocessing=PREPARE)
    extra = ["--model=lenet5", "--image_size=32", "--scales=32"]
    arguments = command(folder, [str(path)], tmp_path / "out", *extra)
    assert run_main(evaluate.main, "evaluate", [*arguments, "--protocol=dense"]) == 2
    assert "lenet5 has no fully convolutional form" in capsys.readouterr().err
    assert run_main(evaluate.main, "evaluate", arguments) == 0


def test_a_run_whose_checkpoint_is_of_another_network(trained, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(trained[0], workdir)
    config = json.loads((workdir / "config.json").read_text())
    config["model"]["width"] = 3
    (workdir / "config.json").write_text(json.dumps(config))
    assert run_main(evaluate.main, "evaluate", [f"--run={workdir}"]) == 2
    errors = capsys.readouterr().err
    assert "after step 4 does not fit crops of 32 pixels" in errors
    assert errors.count("\n") == 1
    (workdir / "config.json").write_text('{"modell": {}}')
    assert run_main(evaluate.main, "evaluate", [f"--run={workdir}"]) == 2
    assert (
        "config.json: there is no field 'modell'; did you mean 'model'" in capsys.readouterr().err
    )


@pytest.mark.full
def test_several_processes_share_the_images(folder, networks, tmp_path):
    def start(output, *extra, devices=1):
        arguments = command(folder, [next(iter(networks))], output, "--protocol=dense", *extra)
        environment = os.environ | {
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "PYTHONPATH": os.getcwd(),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.evaluate", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    finish(start(tmp_path / "one"))
    meeting = [f"--parallel.coordinator=127.0.0.1:{free_port()}", "--parallel.processes=3"]
    several = [
        start(tmp_path / "three", *meeting, f"--parallel.process={n}", devices=2) for n in range(3)
    ]
    outputs = [finish(process) for process in several]
    assert "6 devices, 3 processes" in outputs[0]
    assert all("Result" not in output for output in outputs[1:])
    one, three = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "three")
    )
    for name in ("examples", "top1", "top5", "classes"):
        assert one[name] == three[name]
    one, three = (
        list(csv.DictReader((tmp_path / name / "predictions.csv").read_text().splitlines()))
        for name in ("one", "three")
    )
    for ours, theirs in zip(one, three, strict=True):
        assert [ours[k] for k in ("index", "name", "label", "class_1")] == [
            theirs[k] for k in ("index", "name", "label", "class_1")
        ]
