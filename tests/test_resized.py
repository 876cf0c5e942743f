"""Data sets written once more, reduced or as pixels."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data_sets import imagenet_images, write_imagenet
from PIL import Image
from test_reading import encoded, photo

from experiments import prepare
from jaxcnn.cli.exit_status import run_main
from jaxcnn.data import shards
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.decode import decode, encode_raw
from jaxcnn.data.imagenet import prepare_imagenet
from jaxcnn.data.pipeline import TrainBatches
from jaxcnn.data.prepared import PreparedSource
from jaxcnn.data.resized import prepare_resized, verify_resized
from jaxcnn.data.resized_form import Form, original_name
from jaxcnn.data.views import rescale
from jaxcnn.errors import UserError

SPLITS = {"train": 24, "validation": 11}


def picture(value, mode="RGB", image_format="jpeg"):
    """One of 24 to 32 rows and 40 columns; every fourth is small already."""
    height = 16 if value % 4 == 0 else 24 + value % 9
    image = Image.fromarray(photo(height, 40, value)).convert(mode)
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small ImageNet of several files, prepared."""
    root = tmp_path_factory.mktemp("original")
    (root / "tars").mkdir()
    write_imagenet(root / "tars", imagenet_images(picture))
    prepare_imagenet(root / "tars", root / "data", shards={"train": 4, "validation": 2})
    return root / "data"


def made(original, root, form):
    return prepare_resized("imagenet2012", str(original), root, form)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def examples(name, root, split):
    return list(PreparedSource(name, split, data_dir=str(root)))


@pytest.mark.parametrize("form", [Form(16), Form(16, raw=True), Form(None, raw=True)])
def test_the_images_in_their_new_form(original, tmp_path, form):
    folder = made(original, tmp_path, form)
    assert folder == tmp_path / f"imagenet2012{form.suffix}" / "5.1.0"
    for split, count in SPLITS.items():
        source = PreparedSource("imagenet2012", split, data_dir=str(original))
        old = list(source)
        new = PreparedSource(f"imagenet2012{form.suffix}", split, data_dir=str(tmp_path))
        assert new.class_names == source.class_names
        assert len(old) == len(new) == count
        assert [each.label for each in old] == [each.label for each in new]
        for before, after in zip(old, new, strict=True):
            pixels = decode(before.image, 3, shorter_side=form.side)
            if form.side is not None and min(pixels.shape[:2]) > form.side:
                pixels = rescale(pixels, form.side)
            larger = form.side is not None and min(decode(before.image, 3).shape[:2]) > form.side
            assert not larger or min(pixels.shape[:2]) == form.side
            if not form.raw:
                assert (after.image != before.image) == larger
            seen = decode(after.image, 3).astype(int)
            assert seen.shape == pixels.shape
            assert np.abs(seen - pixels).mean() < (12 if not form.raw else 1e-9)
            if form.raw:
                assert after.image.startswith(b"P6\n")
                np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(after.image))), seen)


def test_what_is_said_of_it_is_carried_over(original, tmp_path):
    folder = made(original, tmp_path, Form(16))
    read = [tfds.builder_from_directory(f).info for f in (original / "imagenet2012/5.1.0", folder)]
    old, new = read
    assert new.name == "imagenet2012_side16"
    assert new.description.endswith(old.description)
    assert "reduced to 16 pixels of the shorter side, as JPEGs of quality 90." in new.description
    assert {k: v.shard_lengths for k, v in new.splits.items()} == {
        k: v.shard_lengths for k, v in old.splits.items()
    }
    assert new.features["label"].names == old.features["label"].names
    name = "imagenet2012_side16"
    part = PreparedSource(name, "train[:40%]", data_dir=str(tmp_path))
    assert [e.label for e in part] == [
        e.label for e in PreparedSource("imagenet2012", "train[:40%]", data_dir=str(original))
    ]


def test_names():
    assert Form(512).suffix == "_side512"
    assert Form(256, raw=True).suffix == "_side256_raw"
    assert Form(None, raw=True, quality=80).suffix == "_raw"
    assert Form(256, quality=80).suffix == "_side256_q80"
    for suffix in ("", "_side512", "_side256_raw", "_raw", "_side256_q80"):
        assert original_name(f"imagenet2012{suffix}:5.1.0") == "imagenet2012"
        assert original_name(f"imagenet_resized{suffix}/64x64") == "imagenet_resized/64x64"


@pytest.mark.parametrize("raw", [False, True])
def test_a_killed_process_continues_to_the_same_bytes(original, tmp_path, raw):
    whole = files(made(original, tmp_path / "whole", Form(16, raw=raw)))
    writer = "TFRecordWriter" if raw else "ArrayRecordWriter"
    program = f"""
import pathlib, time
from jaxcnn.data import shards
from jaxcnn.data.resized import prepare_resized
from jaxcnn.data.resized_form import Form
class Slow(shards.{writer}):
    def write(self, record):
        time.sleep(0.05)
        super().write(record)
shards.{writer} = Slow
prepare_resized("imagenet2012", {str(original)!r}, pathlib.Path({str(tmp_path)!r}),
                Form(16, raw={raw}))
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    unfinished = tmp_path / f"imagenet2012_side16{'_raw' if raw else ''}" / "incomplete.5.1.0"
    deadline = time.monotonic() + 60
    while not list(unfinished.glob("*train*00001-of-00004.part")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (kept,) = unfinished.glob("*train*-of-00004")
    written = kept.stat().st_mtime_ns
    folder = made(original, tmp_path, Form(16, raw=raw))
    assert files(folder) == whole
    assert (folder / kept.name).stat().st_mtime_ns == written
    assert not unfinished.exists()


def test_a_file_that_was_whole_before_its_checksum_was_noted(original, tmp_path):
    folder = made(original, tmp_path, Form(16))
    whole = files(folder)
    unfinished = folder.rename(folder.with_name("incomplete.5.1.0"))
    (unfinished / "checksums.sha256").unlink()
    assert files(made(original, tmp_path, Form(16))) == whole


def test_other_work_is_forgotten(original, tmp_path):
    folder = made(original, tmp_path, Form(16))
    folder.rename(folder.with_name("incomplete.5.1.0"))
    record = folder.with_name("incomplete.5.1.0") / shards.ORIGIN
    record.write_text(record.read_text().replace('"side": 16', '"side": 17'))
    (record.parent / "imagenet2012_side16-train.array_record-00001-of-00004").write_bytes(b"of 17")
    made(original, tmp_path, Form(16))
    assert verify_resized(folder) == 6


@pytest.mark.parametrize("raw", [False, True])
def test_a_flipped_byte_is_noticed_and_mended(original, tmp_path, raw):
    folder = made(original, tmp_path, Form(16, raw=raw))
    whole = files(folder)
    assert verify_resized(folder) == 6
    (path,) = folder.glob("*-train.*-00002-of-00004")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="is not as it was written; remove it and give") as error:
        verify_resized(folder)
    assert str(path) in str(error.value)
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        verify_resized(folder)
    assert files(made(original, tmp_path, Form(16, raw=raw))) == whole


def test_a_count_that_is_wrong_is_noticed(original, tmp_path):
    folder = made(original, tmp_path, Form(16))
    path = folder / "dataset_info.json"
    described = json.loads(path.read_text())
    described["splits"][0]["shardLengths"][0] = "3"
    path.write_text(json.dumps(described))
    with pytest.raises(UserError, match="is not as it was written"):
        verify_resized(folder)


def test_an_image_that_cannot_be_read_stays_for_training_to_find():
    assert Form(16).apply(b"no image", 3) == b"no image"
    assert Form(16, raw=True).apply(b"no image", 3) == b"no image"


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_read_where_they_lie(channels):
    pixels = photo(20, 30)[..., :channels]
    data = encode_raw(pixels)
    read = decode(data, channels)
    np.testing.assert_array_equal(read, pixels)
    assert np.shares_memory(read, np.frombuffer(data, np.uint8))
    np.testing.assert_array_equal(decode(data, 4 - channels).shape, (20, 30, 4 - channels))
    for damaged in (data[:-1], data.replace(b"20", b"21", 1)):
        with pytest.raises(UserError, match="'image' cannot be read"):
            decode(damaged, channels)


def test_it_is_trained_on(original, tmp_path):
    """A batch of each form, near that of the original's own images reduced."""
    config, augment = DataConfig(image_size=12), AugmentConfig(scale_min=16)
    batches = []
    for name, root, form in [
        ("imagenet2012", original, None),
        ("imagenet2012_side16", tmp_path, Form(16)),
        ("imagenet2012_side16_raw", tmp_path, Form(16, raw=True)),
    ]:
        if form is not None:
            made(original, root, form)
        source = PreparedSource(name, "train", data_dir=str(root))
        batches.append(
            TrainBatches(source, config=config, augment=augment, batch_size=8, seed=1)[2]
        )
    first, second, third = batches
    np.testing.assert_array_equal(first["image"], third["image"])  # the same resizing, once
    np.testing.assert_array_equal(first["label"], second["label"])
    assert 0 < np.abs(first["image"].astype(int) - second["image"]).mean() < 12


def run(capsys, *arguments):
    code = run_main(prepare.main, "prepare", arguments)
    output, errors = capsys.readouterr()
    return code, output, errors


def test_the_command(original, capsys):
    name, place = "imagenet2012", f"--data_dir={original}"
    code, output, errors = run(capsys, name, place, "--side=16", "--raw")
    assert code == 0, errors
    assert f"imagenet2012_side16_raw is prepared in {original}" in output
    assert "--config=d --config.data.source=imagenet2012_side16_raw --config.data" in output
    code, output, _ = run(capsys, name, place, "--side=16", "--raw", "--verify")
    assert code == 0
    assert "6 files are as they were written." in output


def test_an_original_that_is_not_there_is_prepared_first(tmp_path, capsys):
    code, output, errors = run(capsys, "digits", f"--data_dir={tmp_path}", "--raw")
    assert code == 0, errors
    assert "digits_raw is prepared in" in output
    assert "(images: train 1,438, test 359)" in output
    source = PreparedSource("digits_raw", "test", data_dir=str(tmp_path))
    assert source.channels == 1
    assert source[0].image.startswith(b"P5\n8 8\n")


def test_the_command_is_stopped(original, tmp_path, capsys, monkeypatch):
    def stop(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr("jaxcnn.data.resized.write_records", stop)
    code, _, errors = run(capsys, "imagenet2012", f"--data_dir={original}", "--side=17")
    assert code == 75
    assert "give the same command again to continue" in errors


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--side=8"], "--side=8 is too small; give 16 pixels or more."),
        (["--side=32", "--quality=99"], "--quality=99 is not between 1 and 95."),
        (["--verify"], "there is nothing to do; give --side=PIXELS, --raw, or both."),
        (["--side=99", "--verify"], "imagenet2012_side99"),
    ],
)
def test_mistakes(original, capsys, options, sentence):
    code, _, errors = run(capsys, "imagenet2012", f"--data_dir={original}", *options)
    assert code == 2
    assert sentence in errors
    assert errors.count("\n") == 1


def test_no_room(original, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        shards.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2_000_000})
    )
    code, _, errors = run(capsys, "imagenet2012", f"--data_dir={original}", "--side=18", "--raw")
    assert code == 2
    assert "GB of room and needs" in errors


def test_a_name_that_would_lead_elsewhere(original, tmp_path):
    folder = made(original, tmp_path, Form(16))
    path = folder / "dataset_info.json"
    path.write_text(path.read_text().replace('"imagenet2012_side16"', '"../../elsewhere"'))
    with pytest.raises(UserError, match="a name in it is none"):
        verify_resized(folder)


def test_the_photo_of_these_tests_is_reduced():
    data = Form(64).apply(encoded(photo(100, 140)), 3)
    assert decode(data, 3).shape == (64, 89, 3)
    assert Image.open(io.BytesIO(data)).format == "JPEG"
