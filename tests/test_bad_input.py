"""A user's mistakes: each gets one sentence, exit status 2 and an untouched work directory."""

import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from experiments.run import main
from experiments.vgg_imagenet import RECIPE
from experiments.vgg_stl10 import RECIPE as STL10
from jaxcnn.data.pipeline import shuffled
from jaxcnn.training.interruption import StopRequest

# A network and images so small that, were a mistake let through, the test would still end soon.
QUICK = (
    "--config.model.width=4",
    "--config.model.hidden=8",
    "--config.train.epochs=1",
    "--config.schedule.warmup_epochs=0",
    "--config.data.threads=1",
)
# A training that gets through needs no more.
TWO = "--config.parallel.devices=2"
FEW = ("--config.data.train_split=train[:256]", "--config.data.eval_split=test[:64]")
pytestmark = pytest.mark.usefixtures("compile_quickly")


def picture(path, shape=(40, 40, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, shape, dtype=np.uint8)
    cv2.imwrite(str(path), pixels)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data sets and files that have something wrong."""
    root = tmp_path_factory.mktemp("mistakes")
    for name in ("good", "no_test", "empty_class", "other_classes", "not_an_image", "truncated"):
        for split in ("train", "test"):
            for kind in ("cat", "dog"):
                for number in range(8):
                    picture(root / name / split / kind / f"{number}.jpg")
    shutil.rmtree(root / "no_test" / "test")
    for file in (root / "empty_class" / "train" / "dog").iterdir():
        file.unlink()
    (root / "other_classes" / "test" / "dog").rename(root / "other_classes" / "test" / "wolf")
    (root / "not_an_image" / "train" / "cat" / "3.jpg").write_text("<html>not found</html>")
    whole = (root / "truncated" / "train" / "cat" / "3.jpg").read_bytes()
    (root / "truncated" / "train" / "cat" / "3.jpg").write_bytes(whole[: len(whole) // 3])
    (root / "flat").mkdir()
    picture(root / "flat" / "1.jpg")
    (root / "a_file").write_text("")
    (root / "empty").mkdir()
    (root / "full_of_other_things").mkdir()
    (root / "full_of_other_things" / "thesis.tex").write_text("")
    (root / "syntax.py").write_text("config = (\n")
    (root / "raises.py").write_text("\nraise RuntimeError('no luck')\n")
    (root / "nothing.py").write_text("x = 1\n")
    (root / "other_type.py").write_text("config = {'epochs': 3}\n")
    (root / "imports.py").write_text("import no_such_module\n")
    # A run that was made with other values, and one whose configuration is damaged.
    from experiments.commandline import to_dict

    run = root / "a_run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps(to_dict(RECIPE.presets["a"])))
    (root / "damaged_run").mkdir()
    (root / "damaged_run" / "config.json").write_text("{")
    return root


# Each: a name, the arguments ({} is the folder of mistakes), words that the sentence must hold.
CASES = [
    ("unknown_preset", "--config=digit", "'digits'"),
    ("unknown_preset_far_off", "--config=resnet", "preset"),
    ("no_preset", "--config=", "preset"),
    ("no_such_file", "--config=mine.py", "no such file"),
    ("file_with_a_syntax_error", "--config={}/syntax.py", "syntax.py, line"),
    ("file_that_raises", "--config={}/raises.py", "no luck"),
    ("file_without_a_config", "--config={}/nothing.py", "config"),
    ("file_of_another_type", "--config={}/other_type.py", "Experiment"),
    ("file_that_imports_nothing", "--config={}/imports.py", "no_such_module"),
    ("misspelt_option", "--confg=d", "--config"),
    ("misspelt_group", "--config.optimiser.learning_rate=1", "optimizer.learning_rate"),
    ("misspelt_field", "--config.optimizer.learningrate=1", "optimizer.learning_rate"),
    ("a_group_as_a_field", "--config.optimizer=adam", "optimizer"),
    ("word_out_of_place", "digits", "--config=NAME"),
    ("text_for_a_number", "--config.optimizer.learning_rate=fast", "a number"),
    ("number_not_finite", "--config.optimizer.learning_rate=nan", "a number"),
    ("fraction_for_a_whole_number", "--config.train.epochs=1.5", "whole number"),
    ("no_truth", "--config.restart=maybe", "True, False"),
    ("unknown_choice", "--config.parallel=tpu", "jit, pmap"),
    ("missing_value", "--config.train.epochs", "--config.train.epochs="),
    ("given_twice", "--config.seed=1 --config.seed=2", "twice"),
    ("negative_seed", "--config.seed=-1", "seed"),
    ("no_epochs", "--config.train.epochs=0", "train.epochs"),
    ("no_learning_rate", "--config.optimizer.learning_rate=0", "optimizer.learning_rate"),
    ("momentum_of_one", "--config.optimizer.momentum=1", "optimizer.momentum"),
    ("freeze_no_expression", "--config.optimizer.freeze=[", "optimizer.freeze"),
    ("freezes_nothing", "--config.optimizer.freeze=stage1/.*", "conv1_1"),
    ("freezes_everything", "--config.optimizer.freeze=.*", "no layer to train"),
    ("multiplier_of_nothing", "--config.optimizer.multipliers=logit=10", "logits"),
    ("multiplier_without_number", "--config.optimizer.multipliers=logits", "PATTERN=MULTIPLE"),
    ("warm_up_too_long", "--config.schedule.warmup_epochs=40", "schedule.warmup_epochs"),
    ("factor_above_one", "--config.schedule.factor=2", "schedule.factor"),
    ("unknown_model", "--config.model.name=vgg15", "'vgg1"),
    (
        "fields_of_another_network",
        "--config.model.name=lenet5 --config.model.pooled_size=1",
        "give --config.model.hidden=None --config.model.pooled_size=None",
    ),
    ("unknown_initialization", "--config.model.initialization=hee", "'he'"),
    ("dropout_of_one", "--config.model.dropout=1", "dropout"),
    ("no_classes", "--config.model.num_classes=0", "model.num_classes"),
    ("no_width", "--config.model.width=0", "model.width"),
    ("too_few_classes", "--config.model.num_classes=3", "model.num_classes"),
    ("layers_no_expression", "--config.model.initialize_layers=[", "model.initialize_layers"),
    ("images_too_small", "--config.data.image_size=16", "(data.image_size): images of 16 x 16"),
    ("crop_too_large", "--config.augment.scale_min=20", "augment.scale_min"),
    ("scales_reversed", "--config.augment.scale_min=64 --config.augment.scale_max=40", "scale_max"),
    ("two_channels", "--config.data.channels=2", "data.channels"),
    ("work_in_a_bucket", "--config.workdir=gs://bucket/run", "by --config.checkpoint.bucket, to"),
    ("data_in_a_bucket", "--config.data.data_dir=s3://bucket/data", "data.data_dir=s3://bucket"),
    ("images_in_a_bucket", "--config.data.source=gs://bucket/data", "copy them to one"),
    ("no_bucket", "--config.checkpoint.bucket=gs://bucket", "checkpoint.bucket=gs://bucket is no"),
    ("batch_not_divisible", "--config.train.batch_size=100", "train.batch_size=100"),
    ("batch_larger_than_data", "--config.train.batch_size=1600", "train.batch_size"),
    ("too_many_devices", "--config.parallel.devices=9", "parallel.devices=9"),
    ("devices_not_divisible", "--config.parallel.model=3", "does not divide the 8 device"),
    ("split_under_pmap", "--config.parallel=pmap --config.parallel.model=2", "parallel.mode=jit"),
    ("split_no_expression", "--config.parallel.split=[", "parallel.split=["),
    (
        "split_of_no_layer",
        "--config.parallel.model=2 --config.parallel.split=fc66",
        "parallel.split=fc66 matches no layer of this network, whose names are such as fc6",
    ),
    (
        "split_not_divisible",
        "--config.parallel.model=4 --config.parallel.split=logits",
        "10 outputs of layer 'logits'",
    ),
    (
        "batch_not_divisible_in_rows",
        "--config.parallel.model=2 --config.train.batch_size=100",
        "train.batch_size=100 cannot be divided over 8 devices; give a multiple of 8, such as 104",
    ),
    ("half_of_the_processes", "--config.parallel.processes=2", "parallel.coordinator"),
    ("unknown_data_set", "--config.data.source=cifar11", "'cifar10"),
    ("data_set_not_prepared", "--config.data.source=cifar10", "experiments.prepare cifar10"),
    ("imagenet_not_prepared", "--config=d", "experiments.prepare imagenet2012"),
    ("missing_data_directory", "--config.data.data_dir={}/nowhere", "nowhere"),
    ("data_directory_of_another_format", "--config.data.data_dir={}/good", "good"),
    ("unknown_split", "--config.data.eval_split=tset", "test"),
    ("missing_folder", "--config.data.source={}/nowhere", "does not exist"),
    ("folder_without_train", "--config.data.source={}/flat", "train"),
    ("folder_without_test", "--config.data.source={}/no_test", "test"),
    ("empty_class_folder", "--config.data.source={}/empty_class", "train/dog"),
    ("splits_of_other_classes", "--config.data.source={}/other_classes", "dog"),
    (
        "not_an_image",
        "--config.data.source={}/not_an_image --config.train.batch_size=8",
        "train/cat/3.jpg",
    ),
    (
        "truncated_image",
        "--config.data.source={}/truncated --config.train.batch_size=8",
        "train/cat/3.jpg",
    ),
    ("workdir_is_a_file", "--config.workdir={}/a_file", "a_file"),
    ("workdir_below_a_file", "--config.workdir={}/a_file/run", "a_file"),
    ("workdir_not_writable", "--config.workdir=/proc/run", "/proc/run"),
    ("workdir_of_something_else", "--config.workdir={}/full_of_other_things", "full_of_other"),
    (
        "workdir_of_another_run",
        "--config.workdir={}/a_run",
        "optimizer.name: paper_momentum -> adam",
    ),
    ("damaged_workdir", "--config.workdir={}/damaged_run", "config.json"),
    ("nothing_to_start_from", "--config.model.initialize_from={}/empty", "empty"),
]


def test_there_are_enough_of_them():
    assert len(CASES) >= 40


def contents(root):
    return {p: p.stat().st_mtime_ns for p in root.rglob("*") if "__pycache__" not in p.parts}


@pytest.mark.parametrize(("arguments", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_one_sentence(arguments, words, place, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no_data_sets"))
    argv = [word.format(place) for word in arguments.split()]
    if not any(word.startswith("--config=") for word in argv):
        given = {word.partition("=")[0] for word in argv}
        argv = ["--config=digits", *(q for q in QUICK if q.partition("=")[0] not in given), *argv]
    before = contents(place)
    status = main(RECIPE, argv)
    errors = capfd.readouterr().err.strip()
    assert status == 2, errors
    assert words in errors
    assert errors.startswith("vgg_imagenet: ")
    assert len([line for line in errors.splitlines() if "%|" not in line]) <= 2, errors
    assert "Traceback" not in errors
    assert contents(place) == before
    assert not any(tmp_path.iterdir()), "something was written"


def test_a_real_process_exits_with_status_2(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "experiments.vgg_stl10", "--config=averge"],
        capture_output=True,
        text=True,
        cwd=os.getcwd(),
        check=False,
    )
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr == "vgg_stl10: there is no preset 'averge'; did you mean 'average'?\n"
    assert STL10.default == "average"


def train(tmp_path, *arguments):
    """Trains quickly, or as the arguments say; its exit status."""
    given = {argument.partition("=")[0] for argument in arguments}
    others = [*QUICK, TWO, "--config.train.batch_size=8", f"--config.workdir={tmp_path / 'run'}"]
    others = [other for other in others if other.partition("=")[0] not in given]
    return main(RECIPE, ["--config=digits", *others, *arguments])


def test_an_unreadable_image_can_be_skipped(place, tmp_path, capfd):
    status = train(
        tmp_path, f"--config.data.source={place}/not_an_image", "--config.data.on_error=skip"
    )
    assert status == 0, capfd.readouterr().err
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["kind"] == "eval"


def test_a_checkpoint_of_another_network_is_refused(tmp_path, capfd):
    """Also where nothing but the arrays tells: the configuration says the same."""
    source = ["--config.data.source=digits", "--config.train.batch_size=64", TWO, *FEW]
    arguments = [*QUICK, *source, f"--config.workdir={tmp_path / 'run'}"]
    assert main(RECIPE, ["--config=digits", *arguments]) == 0
    (tmp_path / "run" / "result.json").unlink()
    other = [a.replace("width=4", "width=8") for a in arguments]
    before = contents(tmp_path)
    assert main(RECIPE, ["--config=digits", *other]) == 2
    assert "model.width: 4 -> 8" in capfd.readouterr().err
    assert contents(tmp_path) == before
    assert main(RECIPE, ["--config=digits", *other, "--config.resume=force"]) == 2
    assert "another network" in capfd.readouterr().err
    # To start from its parameters is refused by naming the layer.
    fresh = [f"--config.workdir={tmp_path / 'fresh'}", *other[:-1]]
    start = f"--config.model.initialize_from={tmp_path / 'run'}"
    assert main(RECIPE, ["--config=digits", *fresh, start]) == 2
    assert "conv1_1" in capfd.readouterr().err
    assert not (tmp_path / "fresh").exists()


def test_a_full_disk_is_noticed_before_anything_starts(tmp_path, capfd, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert train(tmp_path) == 2
    assert "0 MB left" in capfd.readouterr().err
    assert not any(tmp_path.iterdir())


def test_fewer_epochs_by_force_end_where_the_run_is(tmp_path):
    arguments = ["--config=digits", *QUICK, TWO, *FEW, f"--config.workdir={tmp_path / 'run'}"]
    more = [a.replace("epochs=1", "epochs=2") for a in arguments]
    assert main(RECIPE, more) == 0
    (tmp_path / "run" / "result.json").unlink()
    assert main(RECIPE, [*arguments, "--config.resume=force"]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["epochs"] == 2


def test_data_that_has_changed_under_a_run_is_noticed(place, tmp_path, capfd):
    pictures = tmp_path / "pictures"
    shutil.copytree(place / "good", pictures)
    arguments = [f"--config.data.source={pictures}"]
    assert train(tmp_path, *arguments) == 0
    picture(pictures / "train" / "cat" / "one_more.jpg")
    capfd.readouterr()
    assert train(tmp_path, *arguments) == 2
    assert "train_examples: 16 -> 17" in capfd.readouterr().err


def test_a_run_that_is_forced_on_is_not_finished_by_its_old_result(tmp_path, capfd, monkeypatch):
    """Also when it is stopped before its end."""
    arguments = ["--config.data.source=digits", "--config.train.batch_size=64", *FEW]
    assert train(tmp_path, *arguments) == 0
    longer = [*arguments, "--config.train.epochs=2", "--config.resume=force"]
    monkeypatch.setattr(StopRequest, "reached", lambda self: True)
    assert train(tmp_path, *longer) == 75
    monkeypatch.undo()
    capfd.readouterr()
    assert train(tmp_path, *longer) == 0
    output = capfd.readouterr().out
    assert "Continuing from step 4." in output
    assert "after 2 epochs" in output


def test_a_loss_that_blows_up_is_one_sentence_under_pmap_too(tmp_path, capfd):
    """And the examples of an update that was left out are those of its batch."""
    arguments = ["--config.data.source=digits", "--config.train.batch_size=64"]
    blown_up = ["--config.optimizer.name=momentum", "--config.optimizer.learning_rate=1e20"]
    assert train(tmp_path, *arguments, *blown_up, "--config.parallel=pmap") == 2
    errors = capfd.readouterr().err
    *_, norms, sentence = errors.splitlines()
    assert "updates in a row (train.max_nonfinite), none of which was made" in sentence
    assert "norms of the parameters: conv1_1/bias" in norms
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    left_out = [line for line in lines if line["kind"] == "nonfinite"]
    assert [line["in_a_row"] for line in left_out] == list(range(1, 11))
    order = shuffled(range(1438), 1438, seed=0, epoch=0)
    for line in left_out:
        assert line["examples"] == order[64 * (line["step"] - 1) : 64 * line["step"]]
    assert f"step {left_out[0]['step']}: the loss is " in errors
    assert f"(1 so far); examples {order[64 * (left_out[0]['step'] - 1)]}, " in errors
