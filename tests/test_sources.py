"""Data sets in TFDS's layout as a source, and the digits."""

import concurrent.futures
import io
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data_sets import as_tfrecord, describe
from google.protobuf.message import DecodeError
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

from jaxcnn.data import prepared
from jaxcnn.data.digits import prepared_digits
from jaxcnn.data.example_bytes import image_and_label_of
from jaxcnn.data.sources import open_source
from jaxcnn.errors import UserError


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


@pytest.fixture
def data_dir(tmp_path):
    """A data directory with the digits in it, in array_record files."""
    shutil.copytree(prepared_digits().parent.parent, tmp_path / "data")
    return tmp_path / "data"


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    ours = []
    for split, count in (("train", 1438), ("test", 359)):
        source = open_source("digits", split)
        assert (source.name, source.channels, len(source)) == ("digits", 1, count)
        assert source.class_names == tuple("0123456789")
        for example in source:
            image = np.asarray(Image.open(io.BytesIO(example.image)))
            assert (image.dtype, image.shape) == (np.uint8, (8, 8))
            ours.append((tuple(np.round(image.ravel() / 255 * 16).astype(int)), example.label))
    theirs = [
        (tuple(row.astype(int)), int(label)) for row, label in zip(levels, labels, strict=True)
    ]
    assert sorted(ours) == sorted(theirs)


def test_a_fifth_of_each_digit_is_held_out():
    train, test = (
        np.bincount([each.label for each in open_source("digits", split)])
        for split in ("train", "test")
    )
    np.testing.assert_allclose(test / (train + test), 0.2, atol=0.004)


def test_digits_are_prepared_silently_and_once(tmp_path, capfd):
    first = open_source("digits", "train")[3]
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    assert open_source("digits", "train")[3] == first
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    assert capfd.readouterr() == ("", "")
    assert first.name == "digits train example 3"


def test_processes_may_prepare_the_digits_at_once_silently_without_tensorflow(tmp_path):
    program = (
        "import sys; from jaxcnn.data.sources import open_source;"
        "assert 'tensorflow_datasets' not in sys.modules;"
        "source = open_source('digits', 'test'); print(len(source), source[5].label);"
        "assert 'tensorflow' not in sys.modules"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", program], **pipes) for _ in range(2)]
    outputs = {process.communicate(timeout=120) for process in processes}
    assert outputs == {(f"359 {open_source('digits', 'test')[5].label}\n", "")}
    assert os.listdir(tmp_path / "cache" / "tfds") == ["digits"]
    assert os.listdir(tmp_path / "cache" / "tfds" / "digits") == ["1.0.0"]


def test_a_data_dir_is_read_in_either_format(data_dir):
    arrays = {
        split: list(open_source("digits", split, data_dir=str(data_dir)))
        for split in ("train", "test", "train[:80%]", "train[100:200]+test[-5:]")
    }
    assert list(open_source("digits", "train")) == arrays["train"]
    assert [each.image for each in arrays["train[100:200]+test[-5:]"]] == [
        each.image for each in arrays["train"][100:200] + arrays["test"][-5:]
    ]
    as_tfrecord(data_dir / "digits" / "1.0.0")
    before = sorted(data_dir.rglob("*"))
    for split, examples in arrays.items():
        assert list(open_source("digits", split, data_dir=str(data_dir))) == examples
    assert sorted(data_dir.rglob("*")) == before


def test_tfds_reads_what_we_read(data_dir):
    theirs = tfds.builder_from_directory(data_dir / "digits" / "1.0.0").as_data_source(
        "test", decoders={"image": tfds.decode.SkipDecoding()}
    )
    ours = open_source("digits", "test", data_dir=str(data_dir))
    assert [(each.image, each.label) for each in ours] == [
        (each["image"], each["label"]) for each in theirs
    ]


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_threads_and_pickles_read_the_same(data_dir, file_format):
    if file_format == "tfrecord":
        as_tfrecord(data_dir / "digits" / "1.0.0")
    source = open_source("digits", "test", data_dir=str(data_dir))
    expected = list(source)
    copy = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 20_000
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(copy.__getitem__, range(len(copy)))) == expected
    with pytest.raises(IndexError):
        source[len(source)]


def test_the_newest_version_is_read_unless_one_is_named(data_dir):
    digits = data_dir / "digits"
    shutil.copytree(digits / "1.0.0", digits / "1.10.0")
    shutil.copytree(digits / "1.0.0", digits / "1.9.0")
    for version in ("1.10.0", "1.9.0"):
        describe(digits / version, lambda info, version=version: info.update(version=version))
    (digits / "incomplete.X_2.0.0").mkdir()
    paths = {
        name: open_source(name, "test", data_dir=str(data_dir))._paths[0]
        for name in ("digits", "digits:1.9.0", "digits:1.0.0")
    }
    assert paths["digits"].startswith(f"{digits}/1.10.0/")
    assert paths["digits:1.9.0"].startswith(f"{digits}/1.9.0/")
    assert paths["digits:1.0.0"].startswith(f"{digits}/1.0.0/")


def test_a_data_set_that_tfds_does_not_know_is_read_where_it_lies(data_dir):
    (data_dir / "digits").rename(data_dir / "my_digits")
    folder = data_dir / "my_digits" / "1.0.0"
    describe(folder, lambda info: info.update(name="my_digits"))
    for path in folder.glob("digits-*"):
        path.rename(path.with_name(f"my_{path.name}"))
    assert len(open_source("my_digits", "test", data_dir=str(data_dir))) == 359


def test_every_shard_may_stay_open(data_dir):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (500, limits[1]))
        prepared.allow_open_files(1024)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(1524, limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def error(name, split="train", data_dir=None):
    with pytest.raises(UserError) as caught:
        open_source(name, split, data_dir=None if data_dir is None else str(data_dir))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_names_and_places(tmp_path, data_dir):
    assert error("digitz") == "there is no data set 'digitz'; did you mean 'digits'?"
    assert "there is no configuration of imagenet_resized '9x9'" in error("imagenet_resized/9x9")
    assert error("cifar10") == (
        f"cifar10 is not in {tmp_path}/tfds; "
        "prepare it with `python -m experiments.prepare cifar10`."
    )
    message = error("imagenet2012")
    assert "`python -m experiments.prepare imagenet2012 --manual_dir=FOLDER`" in message
    assert "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar of image-net.org" in message
    assert f"experiments.prepare mnist --data_dir={data_dir}`" in error("mnist", "train", data_dir)
    assert f"the data directory {tmp_path}/no (data_dir)" in error(
        "mnist", "train", tmp_path / "no"
    )
    assert f"one folder too deep; give {data_dir} for" in error(
        "digits", "train", data_dir / "digits"
    )
    assert "digits:2.0.0 is not in" in error("digits:2.0.0", "train", data_dir)


def test_folders_of_images_given_as_data_dir(tmp_path):
    (tmp_path / "pets" / "train" / "cat").mkdir(parents=True)
    assert "give" in error("cifar10", "train", tmp_path / "pets")
    assert "as the data source, without data_dir" in error("cifar10", "train", tmp_path / "pets")


def test_splits():
    assert error("digits", "validation") == (
        "digits has no split 'validation'; it has test, train (data.train_split, data.eval_split)."
    )
    assert "has no split ''" in error("digits", "")
    for split in ("train[:x]", "train[:200%]", "train[", "train[:99999]"):
        assert f"'{split}' is no split of digits (" in error("digits", split)
    assert "is empty" in error("digits", "train[:0]")


def test_several_configurations(data_dir):
    for config in ("small", "large"):
        shutil.copytree(data_dir / "digits" / "1.0.0", data_dir / "sizes" / config / "1.0.0")
    assert "choose one of: sizes/large, sizes/small" in error("sizes", "train", data_dir)
    assert len(open_source("sizes/small", "test", data_dir=str(data_dir))) == 359


def test_other_formats_and_damage(data_dir):
    folder = data_dir / "digits" / "1.0.0"
    describe(folder, lambda info: info.update(fileFormat="riegeli"))
    assert "is in the format riegeli, which has no random access" in error(
        "digits", "train", data_dir
    )
    describe(folder, lambda info: info.update(fileFormat="array_record"))

    shard = next(folder.glob("digits-train*"))
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    source = open_source("digits", "train", data_dir=str(data_dir))
    with pytest.raises(UserError, match=f"example 1437 cannot be read from {shard} "):
        source[1437]
    shard.unlink()
    assert f"1 of the 1 files of digits are missing, such as {shard};" in error(
        "digits", "train", data_dir
    )

    (folder / "features.json").unlink()
    assert f"{folder} cannot be read as a data set of TFDS" in error("digits", "test", data_dir)
    (folder / "dataset_info.json").write_text("{")
    assert f"{folder} cannot be read as a data set of TFDS" in error("digits", "test", data_dir)


def test_a_set_without_images_or_without_labels(data_dir, monkeypatch):
    folder = data_dir / "digits" / "1.0.0"
    features = json.loads((folder / "features.json").read_text())
    fields = features["featuresDict"]["features"]
    fields["target"] = fields.pop("label")
    (folder / "features.json").write_text(json.dumps(features))
    assert error("digits", "test", data_dir).endswith(
        "it needs the features 'image' and 'label', and has image, target."
    )


def test_an_example_without_a_label(data_dir, monkeypatch):
    source = open_source("digits", "test", data_dir=str(data_dir))
    source.class_names = ("0",)
    with pytest.raises(UserError, match="the split 'test' cannot be trained on"):
        list(source)


@pytest.mark.parametrize("size", [0, 100, 2**17 - 60, 2**17, 2**17 + 1, 3 * 2**20])
@pytest.mark.parametrize("order", [["image", "label"], ["label", "image"], ["image", "a", "label"]])
def test_an_image_is_found_in_a_record_wherever_it_lies(size, order):
    def entry(name):
        feature = tf_feature_pb2.Features()
        if name == "image":
            feature.feature[name].bytes_list.value.append(image)
        else:
            feature.feature[name].int64_list.value.append(-1 if name == "label" else 5)
        return feature.SerializeToString()

    image = np.random.default_rng(size).bytes(size)
    features = b"".join(map(entry, order))
    example = tf_example_pb2.Example(features=tf_feature_pb2.Features.FromString(features))
    length = (example.SerializeToString()[1:])[: -len(features)]
    record = b"\n" + length + features
    assert tf_example_pb2.Example.FromString(record) == example
    assert image_and_label_of(record) == (image, -1)
    if size > 2**17:
        with pytest.raises((ValueError, DecodeError)):
            image_and_label_of(record[:-9])
        twice = tf_example_pb2.Example.FromString(record + record)
        assert image_and_label_of(twice.SerializeToString()) == (image, -1)
