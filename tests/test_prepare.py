"""Preparing data sets, from small files in their publishers' formats."""

import gzip
import io
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from data_sets import (
    CIFAR10_CLASSES,
    STL10_CLASSES,
    imagenet_images,
    jpeg,
    tar_of,
    write_cifar10,
    write_imagenet,
    write_mnist,
    write_stl10,
)
from PIL import Image
from tensorflow_datasets.core import shuffle
from tensorflow_datasets.core.download import download_manager
from tensorflow_datasets.image_classification import mnist

from experiments import prepare
from jaxcnn.cli.exit_status import run_main
from jaxcnn.data import imagenet, preparation, shards
from jaxcnn.data.imagenet import prepare_imagenet
from jaxcnn.data.sources import open_source

SHARDS = {"train": 4, "validation": 2}
VALIDATION_LABELS = (
    tfds.core.tfds_path("datasets/imagenet2012/validation_labels.txt").read_text().split()
)


@pytest.fixture
def images():
    return imagenet_images()


@pytest.fixture
def tars(tmp_path, images):
    folder = tmp_path / "tars"
    folder.mkdir()
    write_imagenet(folder, images)
    return folder


def contents(data_dir):
    """Every field of every example, by split, as TFDS itself reads them."""
    builder = tfds.builder("imagenet2012", data_dir=data_dir)
    return {
        split: [
            (each["file_name"], each["label"], each["image"])
            for each in builder.as_data_source(
                split, decoders={"image": tfds.decode.SkipDecoding()}
            )
        ]
        for split in builder.info.splits
    }


def shards_of(folder):
    return sorted(path.name for path in folder.glob("*array_record*"))


def test_imagenet_keeps_every_byte(tars, tmp_path, images):
    folder = prepare_imagenet(tars, tmp_path / "data", shards=SHARDS)
    assert folder == tmp_path / "data" / "imagenet2012" / "5.1.0"
    labels = tfds.builder("imagenet2012", data_dir=tmp_path / "data").info.features["label"]
    read = contents(tmp_path / "data")
    assert {name.decode(): image for name, _, image in read["train"]} == images["train"]
    assert {name.decode(): image for name, _, image in read["validation"]} == images["validation"]
    for name, label, _ in read["train"]:
        assert labels.int2str(label) == name.decode().split("_")[0]
    for name, label, _ in read["validation"]:
        assert labels.int2str(label) == VALIDATION_LABELS[int(name[15:23]) - 1]

    assert sorted(os.listdir(folder)) == sorted(
        [f"imagenet2012-train.array_record-{i:05}-of-00004" for i in range(4)]
        + [f"imagenet2012-validation.array_record-{i:05}-of-00002" for i in range(2)]
        + ["dataset_info.json", "features.json", "label.labels.txt"]
    )
    assert os.listdir(folder.parent) == ["5.1.0"]

    source = open_source("imagenet2012", "validation", data_dir=str(tmp_path / "data"))
    assert (len(source.class_names), source.channels) == (1000, 3)
    assert [(each.image, each.label) for each in source] == [
        (image, label) for _, label, image in read["validation"]
    ]


def test_imagenet_is_in_the_order_of_tfds(tars, tmp_path, images):
    """TFDS's own preparation, with what it needs of TensorFlow replaced, writes the same."""
    builder = tfds.builder("imagenet2012", data_dir=tmp_path / "theirs", file_format="array_record")
    with preparation._without_tensorflow():
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(
                manual_dir=tars, num_shards=2, try_download_gcs=False
            )
        )
    prepare_imagenet(tars, tmp_path / "ours", shards={"train": 2, "validation": 2})
    ours, theirs = contents(tmp_path / "ours"), contents(tmp_path / "theirs")
    assert ours == theirs
    assert [each[0] for each in ours["train"]] != sorted(images["train"])
    shards = [shards_of(tmp_path / each / "imagenet2012/5.1.0") for each in ("ours", "theirs")]
    assert shards[0] == shards[1]


def test_imagenet_has_as_many_files_as_with_tfds(tars, tmp_path):
    folder = prepare_imagenet(tars, tmp_path / "data")
    assert len(shards_of(folder)) == 2  # one for each split: 64 MiB are not reached
    rule = imagenet.shard_utils.ShardConfig.calculate_number_shards
    assert rule(144_000_000_000, 1_281_167) == 1024
    assert rule(6_600_000_000, 50_000) == 64


def test_a_stopped_imagenet_continues(tars, tmp_path, monkeypatch):
    prepare_imagenet(tars, tmp_path / "whole", shards=SHARDS)
    unfinished = tmp_path / "data" / "imagenet2012" / "incomplete.5.1.0"

    class Stopping:
        """Stops within the third file."""

        count = 0

        def __init__(self, *args):
            self.writer = ArrayRecordWriter(*args)
            Stopping.count += 1

        def write(self, record):
            if Stopping.count == 3:
                raise KeyboardInterrupt
            self.writer.write(record)

        def close(self):
            self.writer.close()

    with monkeypatch.context() as patch:
        patch.setattr(shards, "ArrayRecordWriter", Stopping)
        with pytest.raises(KeyboardInterrupt):
            prepare_imagenet(tars, tmp_path / "data", shards=SHARDS)
    assert os.listdir(tmp_path / "data" / "imagenet2012") == ["incomplete.5.1.0"]
    done = {path: path.stat().st_mtime_ns for path in unfinished.glob("*-of-00004")}
    assert len(done) == 2

    monkeypatch.delattr(imagenet, "index_tar")  # the tars are not indexed again
    folder = prepare_imagenet(tars, tmp_path / "data", shards=SHARDS)
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")
    assert {folder / path.name: when for path, when in done.items()} == {
        folder / path.name: (folder / path.name).stat().st_mtime_ns for path in done
    }


def test_other_tars_begin_anew(tars, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(imagenet.os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare_imagenet(tars, tmp_path / "data", shards=SHARDS)
    (tars / "ILSVRC2012_img_val.tar").write_bytes(
        tar_of({"ILSVRC2012_val_00000007.JPEG": jpeg(1), "ILSVRC2012_val_00000009.JPEG": jpeg(2)})
    )
    prepare_imagenet(tars, tmp_path / "data", shards=SHARDS)
    read = contents(tmp_path / "data")
    assert sorted(name for name, _, _ in read["validation"]) == [
        b"ILSVRC2012_val_00000007.JPEG",
        b"ILSVRC2012_val_00000009.JPEG",
    ]


def test_a_killed_process_leaves_nothing_that_looks_finished(tars, tmp_path):
    """kill -9 in the middle of a file, in a real process; then the same work to its end."""
    program = f"""
import pathlib, time
from jaxcnn.data import imagenet, shards
class Slow(shards.ArrayRecordWriter):
    def write(self, record):
        time.sleep(0.05)
        super().write(record)
shards.ArrayRecordWriter = Slow
imagenet.prepare_imagenet(
    pathlib.Path({str(tars)!r}), pathlib.Path({str(tmp_path / "data")!r}), shards={SHARDS}
)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    parent = tmp_path / "data" / "imagenet2012"
    deadline = time.monotonic() + 60
    while not list(parent.glob("incomplete.5.1.0/*00001-of-00004.part")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert os.listdir(parent) == ["incomplete.5.1.0"]
    for data_dir in (tmp_path / "data", tmp_path / "whole"):
        prepare_imagenet(tars, data_dir, shards=SHARDS)
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


def run(capsys, *arguments):
    """The exit code, and what the command printed to each stream."""
    code = run_main(prepare.main, "prepare", [str(each) for each in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def mistake(capsys, *arguments):
    """The one sentence that the command ends with."""
    code, output, errors = run(capsys, *arguments)
    (sentence,) = [line for line in errors.splitlines() if line.startswith("prepare: ")]
    assert code == 2
    assert "Train on it" not in output
    assert errors.endswith(sentence + "\n")
    return sentence


def imagenet_mistake(capsys, tars, tmp_path):
    sentence = mistake(
        capsys, "imagenet2012", f"--manual_dir={tars}", f"--data_dir={tmp_path}/data"
    )
    assert not (tmp_path / "data" / "imagenet2012" / "5.1.0").exists()
    return sentence


def test_the_command(tars, tmp_path, capsys):
    arguments = ("imagenet2012", f"--manual_dir={tars}", f"--data_dir={tmp_path}/data")
    code, output, _ = run(capsys, *arguments)
    assert code == 0
    assert output.splitlines() == [
        f"imagenet2012 is prepared in {tmp_path}/data/imagenet2012/5.1.0 "
        "(images: train 24, validation 11).",
        "This is a part of ILSVRC-2012, which has train 1,281,167, validation 50,000.",
        "Train on it: python -m experiments.vgg_imagenet --config=d "
        f"--config.data.data_dir={tmp_path}/data",
    ]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    assert run(capsys, *arguments)[0] == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}


@pytest.fixture
def heeds_interrupts():
    """Also where the tests were started in the background, by a shell that makes SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_interrupts")
def test_the_command_is_stopped_in_one_sentence(tars, capsys, monkeypatch):
    for stop in (signal.SIGINT, signal.SIGTERM):
        monkeypatch.setattr(
            prepare, "prepare", lambda *_, stop=stop: os.kill(os.getpid(), stop) or time.sleep(9)
        )
        code, output, errors = run(capsys, "imagenet2012", f"--manual_dir={tars}")
        assert (code, output) == (75, "")
        assert errors == "\nprepare: stopped; give the same command again to continue.\n"


def test_missing_tars(tars, tmp_path, capsys):
    assert "--manual_dir=FOLDER" in mistake(capsys, "imagenet2012", f"--data_dir={tmp_path}/data")
    assert f"{tmp_path}/no (--manual_dir) does not exist" in imagenet_mistake(
        capsys, tmp_path / "no", tmp_path
    )
    (tars / "ILSVRC2012_img_val.tar").unlink()
    assert f"{tars} lacks ILSVRC2012_img_val.tar; get" in imagenet_mistake(capsys, tars, tmp_path)
    (tars / "ILSVRC2012_img_train.tar").unlink()
    assert "lacks ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar" in imagenet_mistake(
        capsys, tars, tmp_path
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"])
def test_damaged_tars(tars, tmp_path, capsys, name):
    tar = tars / name
    content = tar.read_bytes()

    for whole in (0.4, 0.9, 0.999):
        tar.write_bytes(content[: int(len(content) * whole)] + b"x")
        assert f"{tar} is cut short" in imagenet_mistake(capsys, tars, tmp_path)
    for wrong in (gzip.compress(content), b"<html>", b""):
        tar.write_bytes(wrong)
        assert f"{tar} is not an uncompressed tar" in imagenet_mistake(capsys, tars, tmp_path)
    header = content.rindex(b"ustar", 0, len(content) * 3 // 4)
    tar.write_bytes(content[: header - 100] + b"x" * 50 + content[header - 50 :])
    assert f"{tar} is damaged (" in imagenet_mistake(capsys, tars, tmp_path)
    tar.write_bytes(content[: len(content) // 2 // 512 * 512 + 512] + b"x" * 512 + bytes(1024))
    assert f"{tar} is damaged (" in imagenet_mistake(capsys, tars, tmp_path)


def test_tars_of_something_else(tars, tmp_path, capsys):
    train, validation = tars / "ILSVRC2012_img_train.tar", tars / "ILSVRC2012_img_val.tar"
    right = train.read_bytes()
    for files, stranger in (
        ({"n99999999.tar": tar_of({})}, "n99999999.tar"),
        ({"n01440764.tar": tar_of({"cat.jpg": b"x"})}, "n01440764.tar/cat.jpg"),
    ):
        train.write_bytes(tar_of(files))
        assert f"{train} holds {stranger}, which is no part" in imagenet_mistake(
            capsys, tars, tmp_path
        )
    train.write_bytes(tar_of({"n01440764.tar": tar_of({})}))
    assert f"{train} holds no images" in imagenet_mistake(capsys, tars, tmp_path)
    train.write_bytes(right)
    validation.write_bytes(tar_of({"ILSVRC2012_val_00050001.JPEG": b"x"}))
    assert f"{validation} holds ILSVRC2012_val_00050001.JPEG" in imagenet_mistake(
        capsys, tars, tmp_path
    )
    train.rename(validation)
    (tars / "other").write_bytes(right)
    (tars / "other").rename(train)
    assert f"{validation} holds n01440764.tar" in imagenet_mistake(capsys, tars, tmp_path)


def test_no_room_and_no_permission(tars, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shards.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=2_000_000))
        sentence = imagenet_mistake(capsys, tars, tmp_path)
        assert f"{tmp_path}/data/imagenet2012 has 0.0 GB of room and needs 1.1;" in sentence
    with monkeypatch.context() as patch:
        patch.setattr(
            shards,
            "ArrayRecordWriter",
            lambda path, options: ArrayRecordWriter("/dev/full", options),
        )
        sentence = imagenet_mistake(capsys, tars, tmp_path)
        assert "No space left on device" in sentence
        assert "give the same command again: it continues" in sentence
    (tmp_path / "file").write_text("")
    sentence = mistake(
        capsys, "imagenet2012", f"--manual_dir={tars}", f"--data_dir={tmp_path}/file"
    )
    assert f"{tmp_path}/file" in sentence
    assert "cannot be written (Not a directory)" in sentence


def test_two_at_once(tars, tmp_path, capsys):
    with shards.alone_in(tmp_path / "data" / "imagenet2012" / "incomplete.5.1.0"):
        assert "another process is writing" in imagenet_mistake(capsys, tars, tmp_path)
    (tmp_path / "data" / "imagenet2012" / "5.1.0").mkdir()
    assert "is not a whole data set" in mistake(
        capsys, "imagenet2012", f"--manual_dir={tars}", f"--data_dir={tmp_path}/data"
    )


# The other data sets of TFDS.


@pytest.fixture
def any_checksum(monkeypatch):
    """Accepts files that are not the published ones."""
    monkeypatch.setattr(
        download_manager.DownloadManager,
        "_register_or_validate_checksums",
        lambda self, url, url_info, path: None,
    )


def decoded(source):
    return {
        (np.asarray(Image.open(io.BytesIO(each.image))).tobytes(), each.label) for each in source
    }


def prepared(name, tmp_path, capsys):
    code, output, errors = run(
        capsys, name, f"--data_dir={tmp_path}/data", f"--manual_dir={tmp_path}"
    )
    assert code == 0, errors
    assert f"--config.data.data_dir={tmp_path}/data" in output
    return lambda split: open_source(name, split, data_dir=f"{tmp_path}/data")


def test_mnist(tmp_path, capsys, monkeypatch, any_checksum):
    monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", 30)
    monkeypatch.setattr(mnist, "_TEST_EXAMPLES", 10)
    expected = write_mnist(tmp_path, train=30, test=10)
    source = prepared("mnist", tmp_path, capsys)
    assert {split: decoded(source(split)) for split in expected} == expected
    assert source("train").channels == 1
    assert source("train").class_names == tuple("0123456789")


def test_cifar10(tmp_path, capsys, any_checksum):
    expected = write_cifar10(tmp_path)
    source = prepared("cifar10", tmp_path, capsys)
    assert {split: decoded(source(split)) for split in expected} == expected
    assert source("test").class_names == CIFAR10_CLASSES
    assert source("test").channels == 3


def test_stl10_even_where_it_does_not_fit_in_memory(tmp_path, capsys, monkeypatch, any_checksum):
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 1000)  # the real one exceeds the real limit
    expected = write_stl10(tmp_path)
    source = prepared("stl10", tmp_path, capsys)
    assert {split: decoded(source(split)) for split in expected} == expected
    assert source("train").class_names == STL10_CLASSES
    with pytest.raises(ValueError, match="stl10 unlabelled example 0 has no label"):
        source("unlabelled")[0]


def test_digits(tmp_path, capsys):
    code, output, _ = run(capsys, "digits", f"--data_dir={tmp_path}")
    assert code == 0
    assert "(images: train 1,438, test 359)" in output
    assert len(open_source("digits", "test", data_dir=str(tmp_path))) == 359


def test_tensorflow_is_missed_again_afterwards(capsys):
    before = dict(vars(preparation.lazy_imports_utils.tensorflow))
    with pytest.raises(KeyError), preparation._without_tensorflow():
        raise KeyError
    assert vars(preparation.lazy_imports_utils.tensorflow) == before


def test_no_network(tmp_path, capsys, monkeypatch):
    def fail(*args, **kwargs):
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", fail)
    sentence = mistake(capsys, "cifar10", f"--data_dir={tmp_path}/data")
    assert "cifar-10-binary.tar.gz, and https://www.cs.toronto.edu/~kriz cannot be" in sentence
    assert "--manual_dir" in sentence
    assert not (tmp_path / "data").exists()


def test_no_network_for_the_rest_of_the_files(tmp_path, capsys, monkeypatch, any_checksum):
    """TFDS would try for ten minutes; nothing listens at this port."""
    monkeypatch.setattr(mnist.MNIST, "URL", "http://127.0.0.1:9/")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"")
    start = time.monotonic()
    sentence = mistake(capsys, "mnist", f"--data_dir={tmp_path}/data", f"--manual_dir={tmp_path}")
    assert time.monotonic() - start < 10
    assert "mnist could not be downloaded: " in sentence
    assert not list((tmp_path / "data").glob("mnist/*"))


def test_other_mistakes(tmp_path, capsys):
    assert mistake(capsys, "cifar11").startswith("prepare: there is no data set 'cifar11'; did")
    assert "is not a set of labelled images" in mistake(capsys, "ag_news_subset")
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"<html>")
    sentence = mistake(capsys, "cifar10", f"--data_dir={tmp_path}/data", f"--manual_dir={tmp_path}")
    assert "cifar10 cannot use a file that it was given: Artifact" in sentence
    assert sentence.endswith(" has wrong checksum; remove the file and get it again.")
    sentence = mistake(
        capsys, "cassava", f"--data_dir={tmp_path}/file/data", f"--manual_dir={tmp_path}/no"
    )
    assert f"{tmp_path}/no (--manual_dir) does not exist" in sentence
