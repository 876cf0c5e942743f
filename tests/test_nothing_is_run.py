"""No data, weights or checkpoint run code, and what they hold is written nowhere but in its folder.

Pickles in PyTorch's files have their own tests, in test_weight_files.py.
"""

import contextlib
import io
import json
import marshal
import os
import pickle
import shutil
import sys
import tarfile

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from data_sets import add, describe, imagenet_images, jpeg, tar_of, write_cifar10, write_imagenet
from malformed_data import data_set
from safetensors.numpy import save_file
from tensorflow_datasets.core.download import download_manager

from experiments import prepare
from experiments.commandline import parse
from experiments.vgg_imagenet import RECIPE
from jaxcnn.cli.exit_status import run_main
from jaxcnn.data.imagenet import prepare_imagenet
from jaxcnn.data.preparation import prepare as prepare_data_set
from jaxcnn.data.sources import open_source
from jaxcnn.errors import UserError
from jaxcnn.pretrained import load_pretrained
from jaxcnn.pretrained.files import read_tensors
from jaxcnn.pretrained.naming import OURS
from jaxcnn.pretrained.saving import FORMAT_VERSION
from jaxcnn.training.checkpoint_reading import best_checkpoint, meta_of, variables_of
from jaxcnn.training.checkpoints import Checkpoints


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def mark(tmp_path):
    """The file that is there at the end if anything was run."""
    path = tmp_path / "mark"
    yield path
    assert not path.exists()


class Touch:
    """What an unpickler touches a file for."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_the_attack_is_one(mark):
    pickle.loads(pickle.dumps(Touch(mark)))
    mark.unlink()


def npy(mark):
    file = io.BytesIO()
    np.save(file, np.array([Touch(mark)], object), allow_pickle=True)
    return file.getvalue()


def npz(mark):
    file = io.BytesIO()
    np.savez(file, w=np.array([Touch(mark)], object))
    return file.getvalue()


@pytest.mark.parametrize("make", [npy, npz, lambda mark: pickle.dumps(Touch(mark))])
@pytest.mark.parametrize("name", ["weights.npz", "weights.pth", "weights.h5", "weights"])
def test_what_is_no_file_of_weights_is_not_run(make, name, mark, tmp_path):
    (tmp_path / name).write_bytes(make(mark))
    with pytest.raises(UserError):
        read_tensors(tmp_path / name)


def test_a_layer_that_is_a_function_is_not_called(mark, tmp_path):
    """Keras writes it as marshalled code in the configuration, an attribute of the file."""
    code = compile(f"__import__('os').system('touch {mark}')", "lambda", "exec")
    layer = {
        "class_name": "Lambda",
        "config": {"function": [repr(marshal.dumps(code)), None, None]},
    }
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"config": {"layers": [layer]}})
        file.attrs["keras_version"] = np.void(pickle.dumps(Touch(mark)))
        top = file.create_group("model_weights")
        top.attrs["layer_names"] = [b"dense", b"lambda"]
        top.create_group("lambda").attrs["weight_names"] = np.array([], "S1")
        top.create_group("dense").attrs["weight_names"] = [b"kernel:0"]
        top["dense/kernel:0"] = np.ones((2, 2), "f4")
    assert list(read_tensors(path).tensors) == ["dense/kernel"]


@pytest.mark.parametrize(
    "function", ["os.system", "posix.system", "eval", "__import__", "flax.linen.relu", "jit"]
)
def test_a_field_of_a_network_names_no_function_but_those_known(function, mark, tmp_path):
    path = tmp_path / "a.safetensors"
    call = {"function": function, "keywords": {"command": f"touch {mark}"}}
    header = {"format": OURS.name, "format_version": FORMAT_VERSION, "names": OURS.name}
    header["model"] = "lenet5"
    header["fields"] = json.dumps({"activation": call})
    save_file({"w": np.ones(2, "f4")}, path, header)
    with pytest.raises(UserError, match="damaged header"):
        load_pretrained("lenet5", path)


def test_features_are_no_modules_to_import(mark, tmp_path, monkeypatch):
    """TFDS would import any, and from the working directory."""
    version, _ = data_set(tmp_path / "data", "array_record")
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = version / "features.json"
    whole = path.read_text()
    own = "tensorflow_datasets.core.features.class_feature.ClassLabel"
    assert whole.count("ClassLabel") == 1
    named = json.loads(whole)["featuresDict"]["features"]["label"]["pythonClassName"]
    for name in ("evil.Label", "evil", f"evil.{own}", f"{own}.evil.Label", f"evil;{own}"):
        legacy = {"type": name, "content": {}}
        for text in (whole.replace(named, name), json.dumps(legacy)):
            path.write_text(text)
            with pytest.raises(UserError, match=r"digits/1\.0\.0"):
                open_source("digits", "train", data_dir=str(tmp_path / "data"))
    path.write_text(whole)
    describe(version, lambda info: info.update(moduleName="evil"))
    assert len(open_source("digits", "train", data_dir=str(tmp_path / "data"))) == 8
    assert "evil" not in sys.modules


@pytest.mark.parametrize("name", ["mnist", "mnist:3.0.1", "mnist:9.9.9", "imagenet2012"])
def test_what_is_prepared_already_is_no_module_to_import(name, mark, tmp_path, monkeypatch, capsys):
    version, _ = data_set(tmp_path / "data", "array_record")
    base, _, number = name.partition(":")
    folder = tmp_path / "data" / base / (number or {"mnist": "3.0.1"}.get(base, "5.1.0"))
    folder.parent.mkdir()
    version.rename(folder)
    describe(folder, lambda info: info.update(name=base, version=folder.name))
    features = folder / "features.json"
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for text in (json.dumps({"type": "evil.Label", "content": {}}), "{", "[" * 100_000):
        features.write_text(text)
        arguments = [f"--data_dir={tmp_path}/data", f"--manual_dir={tmp_path}"]
        assert run_main(prepare.main, "prepare", [name, *arguments]) == 2
        assert f"{features} " in capsys.readouterr().err
    assert "evil" not in sys.modules


@pytest.mark.parametrize("name", ["evil.yaml", "evil.json", "evil.pkl", "evil.txt", "evil"])
def test_a_configuration_is_python_or_nothing(name, mark, tmp_path):
    path = tmp_path / name
    path.write_text(f"!!python/object/apply:os.system ['touch {mark}']\n")
    with pytest.raises(UserError, match="a configuration file is Python and ends in"):
        parse(
            [f"--config={path}"],
            presets=RECIPE.presets,
            default=RECIPE.default,
            program="",
            description="",
        )


def test_kept_indices_are_numbers(mark, tmp_path, cache):
    """Those of TFRecord files, in the cache, and those of an unfinished ImageNet."""
    data_set(tmp_path / "data", "tfrecord")
    expected = list(open_source("digits", "train", data_dir=str(tmp_path / "data")))
    for path in (cache / "tfrecord-index").iterdir():
        path.write_bytes(npy(mark))
    assert list(open_source("digits", "train", data_dir=str(tmp_path / "data"))) == expected


def test_an_unfinished_imagenet_is_taken_up_by_what_can_be_right(mark, tmp_path, monkeypatch):
    write_imagenet(tmp_path, imagenet_images())
    whole = prepare_imagenet(tmp_path, tmp_path / "whole")
    folder = tmp_path / "data" / "imagenet2012" / "incomplete.5.1.0"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("jaxcnn.data.imagenet._write_split", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare_imagenet(tmp_path, tmp_path / "data")
    index = np.load(folder / "train.index.npy")
    beyond, empty = index.copy(), index[:0]
    beyond["size"][3] = 2**60
    for damaged in (beyond, empty, index["size"], index[None]):
        np.save(folder / "train.index.npy", damaged)
        with monkeypatch.context() as patch:
            patch.setattr("jaxcnn.data.imagenet._write_split", stop)
            with pytest.raises(KeyboardInterrupt):
                prepare_imagenet(tmp_path, tmp_path / "data")
        np.testing.assert_array_equal(np.load(folder / "train.index.npy"), index)
    (folder / "train.index.npy").write_bytes(npy(mark))
    done = prepare_imagenet(tmp_path, tmp_path / "data")
    for name in sorted(path.name for path in whole.glob("*array_record*")):
        assert (done / name).read_bytes() == (whole / name).read_bytes()


def test_a_checkpoint_holds_no_pickles(mark, tmp_path):
    store = Checkpoints(tmp_path / "run" / "checkpoints", keep=1)
    store.save(1, {"params": {"w": jnp.ones(3)}, "batch_stats": {}}, {"config": {}})
    store.wait()
    checkpoint = best_checkpoint(tmp_path / "run")
    files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file()]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        path.write_bytes(pickle.dumps(Touch(mark)))
        for read in (meta_of, variables_of):
            with contextlib.suppress(UserError):
                read(checkpoint)
        path.write_bytes(content)
    store.close()


# Written nowhere but in its folder


def tree(root, *without):
    """Every path below a folder with what it holds, but for what is below some others."""
    return {
        path: path.lstat().st_mtime_ns
        for path in root.rglob("*")
        if not any(path.is_relative_to(each) for each in without) and not path.is_dir()
    }


NAMES = [
    "../outside",
    "../../../../../../../../tmp/jaxcnn-outside",
    "/tmp/jaxcnn-outside",
    "a/../../outside",
    "./../outside",
    "n01440764/../../../outside",
    "outside\n",
    "\u2025/outside",
    "~/outside",
    "-outside",
    "outside\x1b[2J",
]


def hostile_members(content, below_links=True):
    """Members of a tar by every name, and of every type that is no file."""
    members = [(tarfile.TarInfo(name), content) for name in NAMES]
    for type_ in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        for target in ("../outside", "/tmp/jaxcnn-outside", "/etc/passwd"):
            link = tarfile.TarInfo("link")
            link.type, link.linkname = type_, target
            members += [(link, b""), (tarfile.TarInfo("link"), content)]
            if below_links:
                members.append((tarfile.TarInfo("link/outside"), content))
    for type_ in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        member = tarfile.TarInfo("device")
        member.type, member.devmajor, member.devminor, member.mode = type_, 1, 5, 0o6777
        members.append((member, b""))
    return members


@pytest.fixture
def place(tmp_path):
    """A folder some folders deep, so that all that is to be written outside stands in tmp_path."""
    place = tmp_path / "1" / "2" / "3" / "4"
    place.mkdir(parents=True)
    yield place
    assert not os.path.lexists("/tmp/jaxcnn-outside")
    assert not list(tmp_path.rglob("*outside*"))


def test_the_tars_of_imagenet_name_no_files_to_write(place, tmp_path):
    tars = place / "tars"
    tars.mkdir()
    write_imagenet(tars, imagenet_images())
    train, validation = tars / "ILSVRC2012_img_train.tar", tars / "ILSVRC2012_img_val.tar"
    good = {path: path.read_bytes() for path in (train, validation)}

    def attempt():
        before = tree(tmp_path, place)
        try:
            folder = prepare_imagenet(tars, place / "data")
        except UserError:
            pass
        else:
            assert folder == place / "data" / "imagenet2012" / "5.1.0"
        assert tree(tmp_path, place) == before
        shutil.rmtree(place / "data", ignore_errors=True)
        for path, content in good.items():
            path.write_bytes(content)

    for member, content in hostile_members(jpeg(1)):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        validation.write_bytes(data.getvalue())
        attempt()
        train.write_bytes(data.getvalue())
        attempt()
        train.write_bytes(tar_of({"n01440764.tar": data.getvalue()}))
        attempt()


def test_an_archive_of_tfds_is_unpacked_in_its_folder(place, tmp_path, monkeypatch):
    """The checksum stands in the way of all archives but the published one; here it does not."""
    archives = place / "archives"
    archives.mkdir()
    archive = archives / "cifar-10-binary.tar.gz"
    write_cifar10(archives)
    with tarfile.open(archive) as tar:
        files = {each.name: tar.extractfile(each).read() for each in tar}

    def attempt(below_links):
        with tarfile.open(archive, "w:gz") as tar:
            for name, whole in files.items():
                add(tar, name, whole)
            for member, content in hostile_members(b"content", below_links):
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return prepare_data_set("cifar10", str(place / "data"), str(archives))

    before = tree(tmp_path, place)
    with pytest.raises(UserError, match="wrong checksum"):
        attempt(below_links=True)
    monkeypatch.setattr(
        download_manager.DownloadManager,
        "_register_or_validate_checksums",
        lambda self, url, url_info, path: None,
    )
    with pytest.raises(UserError, match="Error while extracting"):
        attempt(below_links=True)
    assert attempt(below_links=False) == place / "data" / "cifar10" / "3.0.2"
    assert tree(tmp_path, place) == before
    unpacked = [path for path in place.rglob("*") if "outside" in path.name or path.name == "link"]
    assert unpacked
    assert all(path.is_relative_to(place / "data" / "downloads") for path in unpacked)
    assert not any(path.is_symlink() for path in unpacked)
    shutil.rmtree(place)


@pytest.mark.parametrize(
    "name",
    [
        "../../outside",
        "/tmp/jaxcnn-outside",
        "mnist/../../outside",
        "mnist/..",
        "..",
        "mnist:../../1.0.0",
        "mnist\0outside",
        "mnist\n",
        "~/outside",
        "",
    ],
)
def test_the_name_of_a_data_set_is_no_path(name, place, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("TFDS_DATA_DIR", str(place / "data"))
    assert run_main(prepare.main, "prepare", [name, f"--data_dir={place}/data"]) == 2
    assert capsys.readouterr().err.startswith("prepare: there is no ")
    for data_dir in (None, str(place)):
        with pytest.raises(UserError):
            open_source(name, "train", data_dir=data_dir)
    assert not tree(tmp_path)


@pytest.mark.parametrize(
    "split", ["../outside", "/tmp/jaxcnn-outside", "train/../../outside", "\0"]
)
def test_a_description_makes_nothing(split, place, tmp_path):
    for file_format in ("array_record", "tfrecord"):
        root = place / file_format
        version, _ = data_set(root, file_format)

        def change(info, split=split):
            info.update(name=split, version="../../outside", location={"urls": [split]})
            info["splits"][0].update(name=split)

        describe(version, change)
        before = tree(tmp_path, tmp_path / "cache")
        with pytest.raises(UserError):
            open_source("digits", split, data_dir=str(root))
        with pytest.raises(UserError):
            open_source("digits", "train", data_dir=str(root))
        assert tree(tmp_path, tmp_path / "cache") == before


def test_a_sentence_is_one_line_that_no_terminal_obeys():
    said = str(UserError("'a\nb\x1b[2J\x00\ud800\u2028c' is a name."))
    assert said == "'a b\\x1b[2J\\x00\\ud800 c' is a name."
    persian = "'\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645' stays as it is."
    assert str(UserError(persian)) == persian
    assert str(pickle.loads(pickle.dumps(UserError("it is so.")))) == "it is so."


def test_pictures_have_the_names_that_they_have(place, tmp_path):
    """They are shown in sentences, and written into no path."""
    for name in ("ca\nt", "c\x1b[2Jt", os.fsdecode(b"c\xfft")):
        root = place / name.encode(errors="surrogateescape").hex()
        picture = root / "train" / name / "1.jpg"
        picture.parent.mkdir(parents=True)
        picture.write_bytes(jpeg(1))
        with pytest.raises(UserError) as error:
            open_source(str(root), "train")
        assert "has a name that cannot be printed" in str(error.value)
        assert str(error.value).isprintable()
        picture.parent.rename(root / "train" / "cat")
        odd = root / "train" / "cat" / f"{name}.jpg"
        (root / "train" / "cat" / "1.jpg").rename(odd)
        assert open_source(str(root), "train")[0].image == jpeg(1)
        odd.write_bytes(b"no image")
        with pytest.raises(UserError) as error:
            raise UserError(f"'{open_source(str(root), 'train')[0].name}' is no image.")
        assert str(error.value).isprintable()
