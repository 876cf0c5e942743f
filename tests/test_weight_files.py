"""Files of weights: what the real programs wrote is read to the bit, and nothing else does harm."""

import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_weight_files import FOLDER, TENSORS, VARIABLES, numbers

from jaxcnn.errors import UserError
from jaxcnn.pretrained.files import read_tensors
from jaxcnn.pretrained.safetensors_files import write_safetensors

# The names that stand for those of VARIABLES in files that keep none.
AUTOMATIC = {
    "block1_conv1": "conv2d",
    "conv1_bn": "batch_normalization",
    "block1_conv2": "conv2d_1",
    "predictions": "dense",
}
HEAD = {"head/kernel": numbers("head/kernel", (2, 1)), "head/bias": numbers("head/bias", (1,))}


def assert_same(read, expected):
    assert set(read) == set(expected)
    for name, array in expected.items():
        assert read[name].dtype == array.dtype, name
        np.testing.assert_array_equal(read[name], array, err_msg=name, strict=True)


def refused(path):
    with pytest.raises(UserError) as error:
        read_tensors(path)
    text = str(error.value)
    assert text.startswith(f"{path} ")
    assert text.endswith(".")
    assert text.isprintable()
    assert len(text) < len(str(path)) + 300
    return text


# PyTorch


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "protocol4.pth", "unchecked.pth"])
def test_every_form_of_pytorch_is_read(name):
    file = read_tensors(FOLDER / name)
    assert (file.kind, file.metadata) == ("torch", {})
    assert list(file.tensors) == list(TENSORS)
    assert_same(file.tensors, TENSORS)
    assert np.shares_memory(file.tensors["tied"], file.tensors["features.0.weight"])


def test_the_state_dict_of_a_training_checkpoint_is_found():
    expected = {"weight": numbers("weight", (2, 2)), "bias": numbers("bias", (2,))}
    assert_same(
        read_tensors(FOLDER / "training.pth").tensors,
        {f"module.{name}": array for name, array in expected.items()},
    )
    assert_same(read_tensors(FOLDER / "parameters.pth").tensors, expected)


class Raw(bytes):
    """Pickled already."""


def named(name):
    module, _, attribute = name.rpartition(".")
    return Raw(f"c{module}\n{attribute}\n".encode())


def pickled(value):
    """Protocol 2, with nothing looked up or called on the way."""
    match value:
        case Raw():
            return bytes(value)
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            content = pickle.encode_long(value)
            return b"\x8a" + bytes([len(content)]) + content
        case str():
            return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()
        case tuple():
            return b"(" + b"".join(map(pickled, value)) + b"t"
        case list():
            return b"](" + b"".join(map(pickled, value)) + b"e"
        case dict():
            return b"}(" + b"".join(pickled(each) for pair in value.items() for each in pair) + b"u"


def call(name, *arguments):
    return Raw(named(name) + pickled(arguments) + b"R")


def storage(count, *view, kind="Float", key="0"):
    identity = ("storage", named(f"torch.{kind}Storage"), key, "cpu", count, *view)
    return Raw(pickled(identity) + b"Q")


def tensor(offset, shape, strides, stored):
    function = "torch._utils._rebuild_tensor_v2"
    return call(function, stored, offset, shape, strides, False, None)


FOUR = np.arange(4, dtype="<f4")
STORED = {"0": FOUR.tobytes()}


def zip_file(path, value, storages=STORED, compression=0, **members):
    with zipfile.ZipFile(path, "w", compression) as archive:
        content = value if isinstance(value, bytes) and not isinstance(value, Raw) else None
        archive.writestr("archive/data.pkl", content or b"\x80\x02" + pickled(value) + b".")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        for name, data in members.items():
            archive.writestr(f"archive/{name}", data)
    return path


def legacy_file(path, value, storages=STORED):
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, value, list(storages)]
    content = b"".join(b"\x80\x02" + pickled(part) + b"." for part in parts)
    for data in storages.values():
        content += (len(data) // 4).to_bytes(8, "little") + data
    path.write_bytes(content)
    return path


BOTH_FORMS = pytest.mark.parametrize("write", [zip_file, legacy_file])


@BOTH_FORMS
def test_a_state_dict_of_python_2_is_read(write, tmp_path):
    key = Raw(b"U\x01w")  # a string of bytes
    pairs = [[key, tensor(1, (3,), (1,), storage(4))]]
    path = write(tmp_path / "a.pth", call("collections.OrderedDict", pairs))
    assert_same(read_tensors(path).tensors, {"w": FOUR[1:]})


def test_a_view_of_a_storage_is_read_in_the_older_form(tmp_path):
    view = storage(4, ("1", 1, 2))
    path = legacy_file(tmp_path / "a.pth", {"w": tensor(0, (2,), (1,), view)})
    assert_same(read_tensors(path).tensors, {"w": FOUR[1:3]})
    beyond = storage(4, ("1", 3, 2))
    refused(legacy_file(tmp_path / "b.pth", {"w": tensor(0, (2,), (1,), beyond)}))


@pytest.mark.parametrize("kind", ["Float", "ComplexFloat", "BFloat16", "Char"])
def test_a_file_of_a_big_endian_machine_is_read(kind, tmp_path):
    dtypes = {"Float": "f4", "ComplexFloat": "c8", "BFloat16": ml_dtypes.bfloat16, "Char": "i1"}
    array = np.array([1, 2, 3], dtypes[kind])
    unit = "f4" if kind == "ComplexFloat" else f"u{array.itemsize}"
    data = array.view(unit).byteswap().tobytes()
    value = {"w": tensor(0, (3,), (1,), storage(3, kind=kind))}
    path = zip_file(tmp_path / "a.pth", value, {"0": data}, byteorder="big")
    assert_same(read_tensors(path).tensors, {"w": array})
    assert "'odd'" in refused(zip_file(tmp_path / "b.pth", value, {"0": data}, byteorder="odd"))


@BOTH_FORMS
@pytest.mark.parametrize(
    ("offset", "shape", "strides", "count"),
    [
        (0, (5,), (1,), 4),  # more than is stored
        (1, (4,), (1,), 4),
        (5, (0,), (1,), 4),
        (0, (2, 2), (3, 1), 4),  # its last number beyond
        (-1, (2,), (1,), 4),
        (3, (2,), (-1,), 4),
        (0, (-2, -2), (1, 1), 4),
        (0, (2**40,), (0,), 4),  # four numbers spread over terabytes
        (0, (2**20,), (0,), 4),
        (0, (2**62, 2**62), (1, 1), 4),  # a product beyond 64 bits
        (0, (0, 2**47, 2**47), (1, 1, 1), 4),  # no numbers, of a shape that no array has
        (0, (2,), (2**63,), 4),
        (0, (2,), (1, 1), 4),
        (0, (1,) * 65, (1,) * 65, 4),
        (0, (4,), (1,), 2**40),  # terabytes in a storage of 16 bytes
        (0, (2**40,), (1,), 2**40),
        (0, (4,), (1,), -4),
        (0, (2,), (1,), 3),  # another count than the file's
        (True, (2,), (1,), 4),
        (0, ("2",), (1,), 4),
        (0, [2], [1], 4),
        (0, 2, 1, 4),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_before_room_is_made(
    write, offset, shape, strides, count, tmp_path
):
    path = write(tmp_path / "a.pth", {"w": tensor(offset, shape, strides, storage(count))})
    assert peak_memory(lambda: refused(path)) < 2**20


def peak_memory(act):
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Attack:
    """What a plain unpickler would run."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def unpickled_by_hand(harm):
    ordered = named("collections.OrderedDict")
    rebuild = named("torch._utils._rebuild_tensor_v2")
    return {
        "a call of the shell": pickle.dumps({"w": Attack(os.system, f"touch {harm}")}, 2),
        "evaluation": pickle.dumps(Attack(eval, f"open({str(harm)!r}, 'w')"), 4),
        "a class within a list": pickle.dumps({"w": [Attack(Path.touch, harm)]}, 2),
        "protocol 0": pickle.dumps(Attack(os.system, f"touch {harm}"), 0),
        "a name on the stack": b"\x80\x04" + pickled("os") + pickled("system") + b"\x93.",
        "a name that is a list": b"\x80\x04" + pickled([]) + pickled("system") + b"\x93.",
        "an attribute of what is allowed": b"\x80\x04"
        + pickled("collections")
        + pickled("OrderedDict.fromkeys")
        + b"\x93"
        + pickled(("ab",))
        + b"R.",
        "a class of its own": b"\x80\x02cposix\nsystem\n)\x81.",
        "INST": f"(S'touch {harm}'\nios\nsystem\n.".encode(),
        "OBJ": b"(cos\nsystem\n" + pickled(f"touch {harm}") + b"o.",
        "an extension": b"\x80\x02\x82\x01.",
        "a call of a string": pickled("os.system") + pickled((f"touch {harm}",)) + b"R.",
        "a call without a tuple": ordered + b"N" + b"R.",
        "an ordered dict of numbers": ordered + pickled((3,)) + b"R.",
        "an ordered dict of odd pairs": ordered + pickled(([[1, 2, 3]],)) + b"R.",
        "an ordered dict of what calls": ordered + named("os.popen") + b"\x85R.",
        "attributes for a function": rebuild + pickled({"__code__": 1}) + b"b.",
        "attributes for a class": ordered + pickled({"__init__": rebuild}) + b"b.",
        "attributes for a tensor": pickled(tensor(0, (4,), (1,), storage(4))) + pickled({}) + b"b.",
        "items for a class": ordered + pickled("a") + pickled(1) + b"s.",
        "items for a list": b"]" + pickled("a") + pickled(1) + b"s.",
        "an append to a dict": b"}N" + b"a.",
        "half an item": b"}(" + pickled("a") + b"u.",
        "a key that is a tuple": b"}" + pickled(((),)) + b"Ns.",
        "a key that is huge": b"}" + pickled(2**61 - 1) + b"Ns.",
        "a tensor of nothing": pickled(call("torch._utils._rebuild_tensor_v2")) + b".",
        "a tensor of a string": pickled(tensor(0, (1,), (1,), "0")) + b".",
        "a parameter of a number": pickled(call("torch._utils._rebuild_parameter", 3)) + b".",
        "a storage as a string": pickled("storage") + b"Q.",
        "a storage of a function": pickled(("storage", rebuild, "0", "cpu", 4)) + b"Q.",
        "a module": pickled(("module", named("torch.Size"), "f.py", "import os")) + b"Q.",
        "bytes for torch.load": pickled(call("torch.storage._load_from_bytes", "a")) + b".",
        "a memo beyond all": b"Nr\xff\xff\xff\xffj\xfe\xff\xff\xff.",
        "a string beyond all": b"X\xff\xff\xff\xff.",
        "eight bytes of length": b"\x8d" + b"\xff" * 7 + b"\x7f.",
        "a number beyond all": b"\x8b\xff\xff\xff\x7f.",
        "an empty stack": b"R.",
        "no mark": b"t.",
        "no pickle": b"\x00",
        "a dict within itself": b"}q\x00" + pickled("model") + b"h\x00s.",
        "a list within itself": b"]q\x00h\x00a.",
        "tuples within tuples": b")" + b"\x85" * 100_000 + b".",
        "tuples of tuples": b")" + b"q\x00h\x00\x86" * 100 + b".",
        "a key of tuples of tuples": b"})" + b"q\x00h\x00\x86" * 100 + b"Ns.",
        "a name of tuples of tuples": b"\x80\x04)" + b"q\x00h\x00\x86" * 100 + b"N\x93.",
        "an identity of tuples": b")" + b"q\x00h\x00\x86" * 100 + b"Q.",
        "lists without end": b"]" * 5_000_000,
    }


NAMED = {
    "a call of the shell": "posix.system",
    "evaluation": "builtins.eval",
    "a name on the stack": "os.system",
    "an attribute of what is allowed": "collections.OrderedDict.fromkeys",
    "bytes for torch.load": "torch.storage._load_from_bytes",
}


@BOTH_FORMS
@pytest.mark.parametrize("attack", unpickled_by_hand("harm"))
def test_no_pickle_does_anything(write, attack, tmp_path):
    harm = tmp_path / "harm"
    content = unpickled_by_hand(harm)[attack]
    value = content if write is zip_file else Raw(content.removesuffix(b"."))
    text = refused(write(tmp_path / "a.pth", value))
    assert not harm.exists()
    if attack in NAMED:
        assert f"names '{NAMED[attack]}'" in text


def test_a_whole_model_and_a_program_are_refused_by_name():
    assert "'torch.nn.modules.linear.Linear'" in refused(FOLDER / "whole_model.pth")
    assert "TorchScript" in refused(FOLDER / "torchscript.pt")


@BOTH_FORMS
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "no weights"),
        ([], "no weights"),
        (3, "no weights"),
        ({"epoch": 3, "net": {}}, "'epoch'"),
        ({"state_dict": {"w": 3}}, "'w'"),
        ({3: tensor(0, (4,), (1,), storage(4))}, "'3'"),
        ({"w": tensor(0, (4,), (1,), storage(4, key="1"))}, ""),
        (
            {
                "v": tensor(0, (4,), (1,), storage(4)),
                "w": tensor(0, (2,), (1,), storage(2, kind="Double")),
            },
            "",
        ),
    ],
)
def test_what_is_no_state_dict_is_refused(write, value, says, tmp_path):
    assert says in refused(write(tmp_path / "a.pth", value))


GOOD = {"w": tensor(0, (4,), (1,), storage(4))}


def test_members_are_held_against_the_archive(tmp_path):
    bomb = zip_file(tmp_path / "a.pth", GOOD, {"0": bytes(2**20)}, zipfile.ZIP_DEFLATED)
    assert "compressed" in refused(bomb)
    assert "'data/0'" in refused(zip_file(tmp_path / "b.pth", GOOD, {}))
    assert "'archive/data/0'" in refused(zip_file(tmp_path / "c.pth", GOOD, {"0": bytes(15)}))
    damaged = bytearray((FOLDER / "zip.pth").read_bytes())
    damaged[damaged.index(TENSORS["features.0.weight"].tobytes()) + 5] ^= 1
    (tmp_path / "d.pth").write_bytes(damaged)
    assert "checksum" in refused(tmp_path / "d.pth")


def test_members_that_share_their_bytes_are_refused(tmp_path):
    keys = [str(number) for number in range(100)]
    value = {key: tensor(0, (256,), (1,), storage(256, key=key)) for key in keys}
    path = zip_file(tmp_path / "a.pth", value, dict.fromkeys(keys[1:], b"") | {"0": bytes(1024)})
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    with zipfile.ZipFile(path) as archive:
        whole = archive.getinfo("archive/data/0")
    entries = content[directory:].split(b"PK\x01\x02")
    for number, entry in enumerate(entries):
        if b"archive/data/" in entry:  # checksum, both sizes and the place of data/0
            sizes = whole.CRC.to_bytes(4, "little") + (1024).to_bytes(4, "little") * 2
            place = whole.header_offset.to_bytes(4, "little")
            entries[number] = entry[:12] + sizes + entry[24:38] + place + entry[42:]
    path.write_bytes(content[:directory] + b"PK\x01\x02".join(entries))
    assert "more numbers" in refused(path)


# safetensors


def test_safetensors_are_read_and_written(tmp_path):
    file = read_tensors(FOLDER / "torch.safetensors")
    assert (file.kind, file.metadata) == ("safetensors", {"format": "pt"})
    assert_same(file.tensors, TENSORS)
    views = {"transposed": np.asfortranarray(TENSORS["transposed"]), "every": FOUR[::-2]}
    written = {**file.tensors, **views, "big": FOUR.astype(">f4"), "scalar": np.float32(3)}
    write_safetensors(tmp_path / "a.safetensors", written, {"of": "this test"})
    back = read_tensors(tmp_path / "a.safetensors")
    assert back.metadata == {"of": "this test"}
    expected = {**TENSORS, **views, "big": FOUR, "scalar": np.array(3, np.float32)}
    assert_same(back.tensors, expected)
    assert os.listdir(tmp_path) == ["a.safetensors"]
    with pytest.raises(UserError, match="cannot be written"):
        write_safetensors(tmp_path / "none" / "a.safetensors", written)


def test_safetensors_of_a_kind_that_numpy_lacks_are_refused(tmp_path):
    header = b'{"w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"ab")
    assert "F8_E4M3" in refused(path)
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"a")
    refused(path)


# Keras


@pytest.mark.parametrize(
    "name",
    [
        "keras-2.13.1.weights.h5",
        "keras-2.15.0.weights.h5",
        "keras-2.15.0.h5",
        "keras-2.15.0-whole.h5",
        "keras-2.15.0-nested.h5",
        "keras-3.5.0.weights.h5",
        "keras-3.15.1.weights.h5",
        "keras-3.15.1-whole.h5",
        "keras-3.15.1-nested.weights.h5",
        "keras-3.15.1-bfloat16.weights.h5",
    ],
)
def test_every_form_of_keras_is_read(name):
    expected = dict(VARIABLES)
    if name in ("keras-2.13.1.weights.h5", "keras-2.15.0.weights.h5", "keras-3.5.0.weights.h5"):
        split = {key: key.split("/") for key in VARIABLES}
        expected = {f"{AUTOMATIC[layer]}/{v}": VARIABLES[key] for key, (layer, v) in split.items()}
    if "nested" in name:
        expected |= HEAD
    if "bfloat16" in name:
        expected = {key: array.astype(ml_dtypes.bfloat16) for key, array in expected.items()}
    file = read_tensors(FOLDER / name)
    assert (file.kind, file.metadata) == ("keras", {})
    assert_same(file.tensors, expected)


def keras_2_file(path, weights, **options):
    """As Keras 1 and 2 write it: {layer: {weight: array}}."""
    with h5py.File(path, "w", **options) as file:
        file.attrs["layer_names"] = [layer.encode() for layer in weights]
        for layer, arrays in weights.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                group[name] = array
    return path


def test_the_names_of_keras_1_are_read(tmp_path):
    conv = {"block1_conv1_W_1:0": np.ones((3, 3, 3, 4), "f4"), "block1_conv1_b_1:0": FOUR}
    parts = ("gamma", "beta", "running_mean", "running_std")
    norm = {f"bn_conv1_{part}_1:0": FOUR + at for at, part in enumerate(parts)}
    path = keras_2_file(tmp_path / "a.h5", {"block1_conv1": conv, "pool": {}, "bn_conv1": norm})
    read = read_tensors(path).tensors
    assert list(read) == [
        "block1_conv1/kernel",
        "block1_conv1/bias",
        "bn_conv1/gamma",
        "bn_conv1/beta",
        "bn_conv1/moving_mean",
        "bn_conv1/moving_variance",
    ]
    assert_same(read, dict(zip(read, [*conv.values(), *norm.values()], strict=True)))


def test_many_layers_are_read_in_order(tmp_path):
    layers = {f"layer_with_a_long_name_{n}": {"kernel:0": np.full(2, n, ">f8")} for n in range(300)}
    path = tmp_path / "a.h5"
    keras_2_file(path, layers)
    with h5py.File(path, "a") as file:  # as Keras splits what is too long for one attribute
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:200], names[200:]
    read = read_tensors(path).tensors
    assert list(read) == [f"{layer}/kernel" for layer in layers]
    assert [array[0] for array in read.values()] == list(range(300))


def numbered_file(path, groups, container="layers"):
    with h5py.File(path, "w") as file:
        for group, arrays in groups.items():
            for number, array in enumerate(arrays):
                file[f"{container}/{group}/vars/{number}"] = array
    return path


def test_numbered_layers_are_counted_and_their_variables_told_by_class(tmp_path):
    groups = {f"conv2d_{n}" if n else "conv2d": [FOUR + n] for n in range(12)}
    groups |= {"batch_normalization": [FOUR] * 3, "batch_normalization_1": [FOUR] * 4}
    groups |= {"dense": [FOUR, FOUR], "my_layer": [FOUR, FOUR]}
    read = read_tensors(numbered_file(tmp_path / "a.weights.h5", groups)).tensors
    assert [name for name in read if "conv" in name] == [f"{n}/kernel" for n in list(groups)[:12]]
    np.testing.assert_array_equal(read["conv2d_10/kernel"], FOUR + 10)
    # Without gamma or beta there is no telling which is which.
    assert "batch_normalization/0" in read
    assert "batch_normalization/gamma" not in read
    assert "batch_normalization_1/moving_variance" in read
    assert {"dense/kernel", "dense/bias", "my_layer/0", "my_layer/1"} <= set(read)


def test_what_keras_does_not_write_is_refused(tmp_path):
    path = tmp_path / "a.h5"
    good = {"fc": {"kernel:0": np.ones((64, 64), "f4")}}

    def changed(change, **options):
        keras_2_file(path, good, **options)
        with h5py.File(path, "a") as file:
            del file["fc/kernel:0"]
            change(file["fc"])
        return refused(path)

    name = "kernel:0"
    ones = np.ones((64, 64), "f4")
    keras_2_file(tmp_path / "other.h5", good)
    (tmp_path / "raw").write_bytes(ones.tobytes())
    assert "lacks" in changed(lambda group: None)
    assert "link" in changed(lambda group: group.update({name: h5py.SoftLink("/fc")}))
    outside = h5py.ExternalLink("other.h5", "/fc/kernel:0")
    changed(lambda group: group.update({name: outside}))
    for option in ({"chunks": True}, {"compression": "gzip"}, {"shuffle": True}):
        says = changed(lambda group, o=option: group.create_dataset(name, data=ones, **o))
        assert "h5repack" in says
    external = [(str(tmp_path / "raw"), 0, 2**14)]
    assert "another file" in changed(
        lambda group: group.create_dataset(name, (64, 64), "f4", external=external)
    )
    assert "type" in changed(lambda group: group.create_dataset(name, data=["a"]))
    assert "/fc/kernel:0" in changed(lambda group: group.create_group(name))
    changed(lambda group: group.create_dataset(name, (2**20, 2**20), "f4"))  # never written
    assert "twice" in changed(
        lambda group: (
            group.attrs.update({"weight_names": [b"kernel:0", b"kernel_1:0"]}),
            group.update({name: ones, "kernel_1:0": ones}),
        )
    )
    assert "save it again" in changed(lambda group: None, libver="latest")
    with h5py.File(path, "w") as file:
        file["numbers"] = ones
    assert "no variables" in refused(path)


def test_models_in_a_circle_and_numbers_told_twice_are_refused(tmp_path):
    path = numbered_file(tmp_path / "a.h5", {"dense": [FOUR], "functional": [FOUR]})
    with h5py.File(path, "a") as file:
        file["layers/functional/layers"] = file["layers"]
    assert "without end" in refused(path)
    numbered_file(path, {"dense": [np.ones(10_000, "f4")]})
    with h5py.File(path, "a") as file:
        for number in range(1, 10):
            file[f"layers/dense/vars/{number}"] = file["layers/dense/vars/0"]
    assert "more numbers" in refused(path)


# All kinds


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (bytes(1000), "zeros"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML page"),
        (b'{"error": "not found"}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "git lfs pull"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"(\xb5/\xfd", "zstd"),
        (b"\x93NUMPY\x01\x00", "array of numpy"),
        (b"sys_info".ljust(257, b"\0") + b"ustar" + bytes(250), "tar archive"),
        (pickle.dumps([1]), "none of PyTorch's"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2)[:9], "cut short"),
        (b"PK\x03\x04" + bytes(100), "cut short"),
        (b"\x89HDF\r\n\x1a\n", "cut short"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "another form"),
        (b"just a text", "no file of weights"),
    ],
)
def test_what_is_no_weights_is_told_for_what_it_is(content, says, tmp_path):
    path = tmp_path / "vgg16.pth"
    path.write_bytes(content)
    assert says in refused(path)


def test_files_that_cannot_be_opened_and_archives_of_others_are_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "none.pth")
    assert "Is a directory" in refused(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    assert "save_weights" in refused(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("w.npy", b"")
    assert "no data.pkl" in refused(tmp_path / "a.npz")


FILES = sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_anywhere_is_refused(name, tmp_path):
    content = (FOLDER / name).read_bytes()
    for length in range(0, len(content), max(1, len(content) // 40)):
        path = tmp_path / "cut"
        path.write_bytes(content[:length])
        refused(path)


EDITS = st.lists(
    st.tuples(
        st.integers(0, 2**16),
        st.one_of(
            st.binary(min_size=1, max_size=9),
            st.sampled_from([b"\xff" * 8, bytes(8), b"\xff\xff\xff\x7f", b"\0\0\0\0\0\1\0\0"]),
            st.integers(0, 2**16),  # a copy of what stands there
        ),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("name", FILES)
@settings(
    max_examples=60, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits=EDITS)
def test_damage_gives_arrays_or_one_sentence_within_bounds(name, edits, tmp_path):
    content = bytearray((FOLDER / name).read_bytes())
    for position, edit in edits:
        at = position % len(content)
        source = edit % len(content) if isinstance(edit, int) else 0
        new = content[source : source + 16] if isinstance(edit, int) else edit
        content[at : at + len(new)] = new
    path = tmp_path / "damaged"
    path.write_bytes(content)

    def read():
        try:
            tensors = read_tensors(path).tensors
        except UserError:
            return
        for array in tensors.values():
            assert len(array.tobytes()) == array.nbytes

    assert peak_memory(read) < 2 * 2**20


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "keras"])
def test_a_large_file_takes_its_size_in_memory(kind, tmp_path):
    array = np.arange(2**21, dtype="f4")  # 8 MiB
    path = tmp_path / "large"
    value = {"w": tensor(0, (2**21,), (1,), storage(2**21))}
    match kind:
        case "zip":
            zip_file(path, value, {"0": array.tobytes()})
        case "legacy":
            legacy_file(path, value, {"0": array.tobytes()})
        case "safetensors":
            write_safetensors(path, {"w": array})
        case "keras":
            keras_2_file(path, {"w": {"w/w": array}})
    assert peak_memory(lambda: read_tensors(path)) < 1.3 * array.nbytes
    np.testing.assert_array_equal(next(iter(read_tensors(path).tensors.values())), array)


def test_neither_pytorch_nor_keras_nor_hdf5_is_needed():
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'keras', 'tensorflow', 'h5py')))\n"
        "from jaxcnn.pretrained.files import read_tensors\n"
        f"for name in {FILES!r}:\n"
        "    if name not in ('whole_model.pth', 'torchscript.pt'):\n"
        f"        assert read_tensors(f'{FOLDER}/{{name}}').tensors\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
