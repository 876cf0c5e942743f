"""The command that makes a page of runs: what it gathers, the page in a browser, TensorBoard."""

import csv
import io
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import recipe_runs
import report_runs
from browser import PROGRAM, Browser
from html_page import loaded_from_elsewhere, read_page
from PIL import Image
from recipe_runs import DEVICES, called, metrics
from recipes import RECIPES
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from test_report_page import hostile, pixels

from experiments import evaluate, report
from experiments.config import Experiment
from experiments.fields import fields_of
from experiments.members import run_config
from experiments.nearest_preset import differences, nearest_preset
from experiments.run_answers import Evenly
from jaxcnn.cli.exit_status import run_main
from jaxcnn.data.pipeline import EvalBatches
from jaxcnn.data.sources import open_source
from jaxcnn.inspection.report import report_html

pytestmark = pytest.mark.usefixtures("compile_quickly")
IMAGES = 60  # of the evaluation


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run of two short epochs, and what it printed."""
    workdir = tmp_path_factory.mktemp("runs") / "lenet mnist" / "digits"
    options = (
        *DEVICES,
        "--config.data.train_split=train[:256]",
        f"--config.data.eval_split=test[:{IMAGES}]",
        "--config.train.batch_size=32",
        "--config.train.epochs=2",
        "--config.train.log_every=3",
        "--config.optimizer.learning_rate=0.004",
    )
    return workdir, recipe_runs.run(
        "lenet_mnist", "--config=digits", *options, f"--config.workdir={workdir}"
    )


@pytest.fixture
def workdir(made, tmp_path):
    """A copy of it."""
    shutil.copytree(made[0], tmp_path / "runs" / "digits")
    return tmp_path / "runs" / "digits"


def reported(*words, status=0):
    ran = called(run_main, report.main, "report", [*map(str, words), "--json"])
    assert ran.status == status, ran
    return json.loads(ran.output) if status == 0 else ran


def page_of(*words):
    record = reported(*words)
    return record, read_page(Path(record["output"]).read_text(encoding="utf-8"))


def tables(root):
    return {table.one("caption").text: table.rows() for table in root.all("table")}


def changed(workdir, name, change):
    """Changes a file of JSON."""
    found = json.loads((workdir / name).read_text())
    change(found)
    (workdir / name).write_text(json.dumps(found))


def test_a_run_ends_with_the_command_that_makes_a_page_of_it(made):
    last = made[1].output.splitlines()[-1]
    assert last == f"As a page: python -m experiments.report '{made[0]}'"


def test_a_page_agrees_with_the_run_and_with_an_evaluation(workdir, tmp_path):
    record, root = page_of(workdir)
    assert record["output"] == str(workdir / "report.html")
    assert record["bytes"] == (workdir / "report.html").stat().st_size
    assert record["runs"] == [{"run": str(workdir), "missing": []}]
    assert loaded_from_elsewhere(root) == []

    result = json.loads((workdir / "result.json").read_text())
    figures = dict(zip((d.text for d in root.all("dt")), root.all("dd"), strict=True))
    assert figures["Top-1 accuracy"].text == f"{result['accuracy']:.2%}"
    assert figures["Loss"].text == f"{result['loss']:.4f}"
    assert figures["Epochs"].text == "2 16 steps"
    assert [h.text for h in root.all("h3")][:4] == [
        "Accuracy per class",
        "Confusions",
        "Worst mistakes",
        "First-layer filters",
    ]

    output = tmp_path / "evaluation"
    words = [f"--run={workdir}", f"--output={output}", "--threads=2"]
    assert called(run_main, evaluate.main, "evaluate", words).status == 0
    with (output / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = np.zeros((10, 10), int)
    for row in rows:
        expected[int(row["label"]), int(row["class_1"])] += 1
    found = tables(root)
    (confusions,) = (rows for caption, rows in found.items() if "(columns)" in caption)
    counts = [[int(cell or 0) for cell in row[1:]] for row in confusions[1:]]
    np.testing.assert_array_equal(counts, expected)
    assert f"{expected.trace()} of {IMAGES} images of digits test[:{IMAGES}]" in root.text

    # The surest of the wrong answers, in that order, each with its image.
    wrong = [row for row in rows if row["label"] != row["class_1"]]
    wrong.sort(key=lambda row: -float(row["probability_1"]))
    shown = [i for i in root.all("img") if i.attributes["alt"].startswith("An image of")]
    assert 5 < len(shown) == min(24, len(wrong))
    config = run_config(str(workdir))
    source = open_source("digits", f"test[:{IMAGES}]")
    batch = EvalBatches(source, batch_size=IMAGES, config=config.data, augment=config.augment)[0][
        "image"
    ]
    for row, image in zip(wrong, shown, strict=False):
        caption = image.parent.one("figcaption").text
        probability = float(row["probability_1"])
        assert caption.startswith(row["class_1"])
        assert caption.endswith(f"is {row['label']}")
        assert float(caption.split()[1][:-1]) == pytest.approx(100 * probability, abs=0.06)
        index = int(row["index"])
        np.testing.assert_array_equal(pixels(image.attributes["src"]), batch[index, ..., 0])


def test_a_page_shows_the_configuration_beside_its_preset(workdir):
    _, root = page_of(workdir)
    assert "lenet_mnist digits" in root.one("main").text
    differing = tables(root)["Fields that differ from the preset"][1:]
    marked = {name.removeprefix("▸ "): value for name, value in differing}
    assert marked["optimizer.learning_rate"] == "0.004 preset: 0.003"
    assert marked["train.epochs"] == "2 preset: 30"
    assert marked["parallel.devices"] == "2 preset: None"
    assert not any("workdir" in name for name in marked)
    groups = {k: rows for k, rows in tables(root).items() if k.startswith("Fields of ")}
    listed = {
        (group.removeprefix("Fields of "), row[0].removeprefix("▸ "))
        for group, rows in groups.items()
        for row in rows[1:]
    }
    names = [field.name.rpartition(".") for field in fields_of(Experiment())]
    assert listed == {(group or "run", name) for group, _, name in names}


def test_the_nearest_preset_is_the_one_that_was_changed_least(tmp_path):
    digits, c_digits = (RECIPES["vgg_imagenet"].presets[p] for p in ("digits", "c_digits"))
    for config, name in ((digits, "digits"), (c_digits, "c_digits")):
        assert nearest_preset(config, tmp_path)[:2] == ("vgg_imagenet", name)
        assert differences(config, config) == {}
    # Of two that are alike the one that the folder is named after.
    alike = {
        (recipe.name, preset)
        for recipe in RECIPES.values()
        for preset, config in recipe.presets.items()
        if config == RECIPES["resnet_cifar10"].presets["resnet20"]
    }
    for recipe, preset in alike:
        config = RECIPES[recipe].presets[preset]
        assert nearest_preset(config, tmp_path / recipe / preset)[:2] == (recipe, preset)


def test_several_runs_are_overlaid(workdir, tmp_path):
    other = tmp_path / "other" / "digits"
    shutil.copytree(workdir, other)
    changed(other, "config.json", lambda c: c["optimizer"].update(weight_decay=0.25))
    record, root = page_of(workdir, other, f"--output={tmp_path}/new/both.html", "--images=10")
    assert record["output"] == f"{tmp_path}/new/both.html"
    assert root.one("h1").text == "2 runs compared"
    found = tables(root)
    assert [row[0] for row in found["Results"][1:]] == ["runs/digits", "other/digits"]
    differing = found["Fields of the configuration that differ between the runs"]
    default = run_config(str(workdir)).optimizer.weight_decay
    assert differing[1:] == [["▸ optimizer.weight_decay", str(default), "0.25"]]
    (loss,) = (s for s in root.all("svg") if s.attributes.get("aria-label", "")[:4] == "Loss")
    for run in ("runs/digits", "other/digits"):
        last = metrics(workdir, "eval", "loss")[-1]
        assert f"{run}, evaluation: from " in loss.attributes["aria-label"]
        assert f" to {last:.4g}" in loss.attributes["aria-label"]
    assert root.text.count("of 10 images") == 2


def test_of_many_images_some_are_asked_about(workdir):
    source = open_source("digits", "test")
    some = Evenly(source, 7)
    assert [some[k].name for k in range(7)] == [source[k * 359 // 7].name for k in range(7)]
    with pytest.raises(IndexError):
        some[7]
    _, root = page_of(workdir, "--images=0")
    assert "Confusions" not in [h.text for h in root.all("h3")]
    classes = tables(root)["By the class that the images have"]
    result = json.loads((workdir / "result.json").read_text())
    assert [row[-1] for row in classes[1:]] == [
        f"{of['correct']} of {of['count']}" for of in result["classes"].values()
    ]


def with_pictures(workdir, class_names):
    """Gives a run a grey picture of each class for its data."""
    folder = workdir.parent / "pictures"
    for split in ("train", "test"):
        for name in class_names:
            (folder / split / name).mkdir(parents=True)
            Image.new("L", (32, 32)).save(folder / split / name / "1.png")
    data = {"source": str(folder), "eval_split": "test"}
    changed(workdir, "config.json", lambda c: c["data"].update(data))


def without_result(workdir):
    (workdir / "result.json").unlink()
    return [], "Not finished: 16 of 16 steps are recorded."


def without_checkpoints(workdir):
    for name in ("checkpoints", "best"):
        shutil.rmtree(workdir / name)
    return ["holds no whole checkpoint"], "Finished"


def without_anything(workdir):
    for path in workdir.iterdir():
        if path.name != "config.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return ["metrics.jsonl cannot be read", "holds no whole checkpoint"], "0 steps are recorded"


def without_images(workdir):
    changed(workdir, "config.json", lambda c: c["data"].update(source="./nowhere"))
    return ["nowhere"], "Finished"


def with_other_classes(workdir):
    with_pictures(workdir, ("cat", "dog"))
    return ["knows 10 classes and"], "Finished"


def with_a_damaged_result(workdir):
    (workdir / "result.json").write_text('{"accuracy": [], "best": null}')
    return ["result.json cannot be read"], "Not finished"


def with_damaged_records(workdir):
    for name in ("metrics.jsonl", "timings.jsonl"):
        (workdir / name).write_text("{\n")
    return ["metrics.jsonl, line 1 is damaged", "timings.jsonl, line 1 is damaged"], "Finished"


@pytest.mark.parametrize(
    "lack",
    [
        without_result,
        without_checkpoints,
        without_anything,
        without_images,
        with_other_classes,
        with_a_damaged_result,
        with_damaged_records,
    ],
)
def test_what_a_run_lacks_is_said(lack, workdir):
    sentences, about = lack(workdir)
    record, root = page_of(workdir)
    (run,) = record["runs"]
    for sentence in sentences:
        (said,) = (m for m in run["missing"] if sentence in m)
        assert said in [item.text for item in root.all("li")]
    assert len(run["missing"]) == len(sentences)
    assert about in root.text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "nowhere is no work directory of a run (config.json: No such file"),
        ([], "RUN"),
        (["{run}", "--output={run}"], "is no page; give a file that ends in .html."),
        (["{run}", "--output=a.txt"], "--output=a.txt is no page; give a file that ends in .html."),
        (["{run}", "--images=-1"], "--images=-1 must be 0 or more."),
        (["{run}", "--outptu=a.html"], "did you mean '--output'?"),
        (["{run}", "--output={run}/config.json/a.html"], "a.html cannot be written"),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(words, sentence, made):
    ran = reported(*(word.format(run=made[0]) for word in words), status=2)
    assert sentence in ran.errors
    assert len(ran.errors.splitlines()) == 1
    assert ran.errors.startswith("report: ")


def test_a_class_may_be_called_anything(workdir):
    names = ("<script>alert(1)<", '"><img src=x onerror=alert(1)>')
    with_pictures(workdir, names)
    classes = {name: {"accuracy": 0.5, "correct": 1, "count": 2} for name in names}
    changed(workdir, "result.json", lambda r: r.update(classes=classes))
    _, root = page_of(workdir)
    assert loaded_from_elsewhere(root) == []
    rows = tables(root)["By the class that the images have"]
    assert [row[0] for row in rows[1:]] == list(names)


def events(workdir):
    """The events of all files of a run, by file."""
    found = {}
    for path in sorted((workdir / "tensorboard").iterdir()):
        data, found[path.name] = path.read_bytes(), []
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found[path.name].append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def values(events):
    return {v.tag: (event.step, v) for event in events for v in event.summary.value}


def opened(value):
    with Image.open(io.BytesIO(value.image.encoded_image_string)) as image:
        assert image.size == (value.image.width, value.image.height)
        return np.asarray(image.convert("RGB"))


def test_tensorboard_shows_hyper_parameters_and_pictures(made, workdir):
    (of_run,) = events(workdir).values()
    found = values(of_run)
    assert found["batch"][0] == found["filters/c1"][0] == 16
    with Image.open(workdir / "batch.png") as batch:
        np.testing.assert_array_equal(opened(found["batch"][1]), np.asarray(batch.convert("RGB")))
    filters = opened(found["filters/c1"][1])
    assert filters.shape == (8 * (5 + 2), 8 * (6 * (5 + 1) + 1), 3)  # six of 5 x 5, enlarged
    assert len(np.unique(filters)) > 10

    plugins = {
        tag.removeprefix("_hparams_/"): HParamsPluginData.FromString(
            value.metadata.plugin_data.content
        )
        for tag, (_, value) in found.items()
        if tag.startswith("_hparams_/")
    }
    assert plugins.keys() == {"experiment", "session_start_info", "session_end_info"}
    start = plugins["session_start_info"].session_start_info.hparams
    assert start["optimizer.learning_rate"].number_value == 0.004
    assert start["augment.flip"].WhichOneof("kind") == "bool_value"
    assert start["model.hidden"].string_value == "None"
    assert start["optimizer.decay"].string_value == "kernels"
    experiment = plugins["experiment"].experiment
    assert {info.name for info in experiment.hparam_infos} == set(start)
    assert len(start) == len(fields_of(Experiment())) - 3  # all but where and how it was begun
    shown = {info.name.tag for info in experiment.metric_infos}
    assert shown <= found.keys()
    assert {"eval/accuracy", "eval/loss"} <= shown
    assert found["eval/accuracy"][1].simple_value == pytest.approx(
        metrics(workdir, "eval", "accuracy")[-1]
    )


def test_the_report_adds_the_answers_to_tensorboard_once(workdir):
    before = {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()}
    for _ in range(2):
        page_of(workdir)
        first, answers = events(workdir)
        assert answers.endswith(".answers")
    found = values(events(workdir)[answers])
    assert found.keys() == {"answers/confusions", "answers/mistakes"}
    assert {step for step, _ in found.values()} <= {8, 16}
    for _, value in found.values():
        assert 0.01 < np.mean(opened(value) != 255) < 0.99
    # All else of the run is as it was.
    assert all(path.read_bytes() == data for path, data in before.items())
    after = {p for p in workdir.rglob("*") if p.is_file()} - before.keys()
    assert after == {workdir / "report.html", workdir / "tensorboard" / answers}
    assert first in {path.name for path in before}
    # Of an unfinished run nothing is added to: it goes on.
    (workdir / "result.json").unlink()
    (workdir / "tensorboard" / answers).unlink()
    page_of(workdir)
    assert len(events(workdir)) == 1


# In a browser, if there is one.

needs_browser = pytest.mark.skipif(PROGRAM is None, reason="there is no chromium on this machine")


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(made, tmp_path_factory):
    """Pages of each kind by name."""
    folder = tmp_path_factory.mktemp("pages")
    names = [f"German_shepherd {number}" for number in range(12)]
    long = [
        report_runs.run(name=f"a long name of a run, no. {n}", class_names=names, seed=n)
        for n in range(4)
    ]
    photographs = report_runs.run(
        class_names=[f"class {n}" for n in range(300)], images=5000, side=224, kernels=(96, 11, 2)
    )
    runs = {"long": long, "photographs": [photographs], "hostile": [hostile()]}
    found = {"real": folder / "real.html"}
    shutil.copytree(made[0], folder / "run")
    reported(folder / "run", f"--output={found['real']}")
    for name, of in runs.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(report_html(of, report_runs.settings(len(of))), encoding="utf-8")
    return found


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", ["real", "long", "photographs", "hostile"])
def test_a_page_in_a_browser(name, width, dark, browser, pages, tmp_path):
    seen = browser.open(pages[name], width=width, dark=dark)
    assert seen.errors == []
    assert seen.requests == []
    assert seen.overflowing == []
    assert seen.width == width
    assert seen.background == ("rgb(19, 20, 23)" if dark else "rgb(253, 253, 252)")
    (tmp_path / "seen.png").write_bytes(seen.picture)
    with Image.open(tmp_path / "seen.png") as picture:
        assert picture.width == width
        colors = picture.convert("RGB").getcolors(1 << 24)
    # Most of it is paper, and something is written on it.
    paper = (19, 20, 23) if dark else (253, 253, 252)
    (most,) = (count for count, color in colors if color == paper)
    assert 0.3 < most / sum(count for count, _ in colors) < 0.99
    assert len(colors) > 100


@needs_browser
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("<script>console.error('a mistake')</script>", "a mistake"),
        ("<script>undefined_name()</script>", "undefined_name"),
        ("<script>Promise.reject(Error('later'))</script>", "later"),
        ("<img src='nowhere.png'>", "ERR_FILE_NOT_FOUND"),
        (
            "<meta http-equiv='Content-Security-Policy' content=\"img-src 'none'\">"
            "<img src='data:image/png;base64,AA'>",
            "Content Security Policy",
        ),
    ],
)
def test_what_goes_wrong_in_a_browser_is_noticed(bad, said, browser, tmp_path):
    (tmp_path / "bad.html").write_text(f"<!doctype html><title>t</title>{bad}<p>text</p>")
    seen = browser.open(tmp_path / "bad.html", width=400)
    assert any(said in error for error in seen.errors), seen.errors


@needs_browser
def test_what_is_too_wide_in_a_browser_is_noticed(browser, tmp_path):
    """And what a page asks for from elsewhere."""
    (tmp_path / "bad.html").write_text(
        "<!doctype html><title>t</title><meta name=viewport content='width=device-width'>"
        "<p style='width: 700px'>a</p><img src='http://[::1]:9/'>"
    )
    seen = browser.open(tmp_path / "bad.html", width=400)
    assert seen.requests == ["http://[::1]:9/"]
    assert seen.overflowing[0].startswith("P.")
    assert seen.width > 400
