"""What jaxcnn reads, in small, to be damaged: for each kind a function that damages one and reads it.

Reading is by the functions that a user's command calls. ``KINDS[name].make(folder)`` writes what is
needed into an empty folder, and gives a function of a random number generator.
"""

import contextlib
import dataclasses
import functools
import io
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from data_sets import as_tfrecord, describe, imagenet_images, write_imagenet
from mutations import mutated, mutated_json, mutated_words
from PIL import Image

from jaxcnn.errors import UserError

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of input; of all inputs of a run it has this share, compared with the others."""

    make: Callable
    share: int


def _encoded():
    """An image in every format and most of their forms, a kilobyte or two each."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), np.uint8))
    picture = coarse.resize((40, 30), Image.Resampling.BICUBIC)
    deep = Image.fromarray(random.integers(0, 2**16, (30, 40), np.uint16))
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    forms = [
        ("JPEG", picture, {"exif": exif, "comment": b"a comment"}),
        ("JPEG", picture, {"progressive": True}),
        ("JPEG", picture, {"subsampling": 0, "restart_marker_blocks": 2}),
        ("JPEG", picture.convert("CMYK"), {}),
        ("JPEG", picture.convert("L"), {}),
        ("PNG", picture, {"icc_profile": bytes(300), "exif": exif}),
        ("PNG", picture.quantize(16), {"transparency": 3}),
        ("PNG", picture.convert("RGBA"), {}),
        ("PNG", deep, {}),
        ("GIF", picture.quantize(16), {"interlace": 1}),
        ("BMP", picture, {}),
        ("BMP", picture.quantize(16), {}),
        ("PPM", picture, {}),
        ("TIFF", picture, {}),
        ("TIFF", deep, {"compression": "tiff_lzw"}),
        ("TIFF", picture, {"compression": "tiff_adobe_deflate"}),
        ("TIFF", picture, {"compression": "jpeg"}),
        ("WEBP", picture, {"lossless": True, "exif": exif}),
        ("WEBP", picture.convert("RGBA"), {}),
    ]
    files = []
    for form, image, options in forms:
        file = io.BytesIO()
        image.save(file, form, **options)
        files.append(file.getvalue())
    plain = b"P3 # in words\n4 2 255\n" + b"10 200 30 " * 8
    return [*files, plain]


def _with_checksums(data):
    """A PNG with right checksums, so that what is changed is read; other formats as they are."""
    if not data.startswith(b"\x89PNG"):
        return data
    data, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(data)


def images(folder):
    from jaxcnn.data.crops import AugmentConfig
    from jaxcnn.data.data_config import DataConfig
    from jaxcnn.data.pipeline import TrainBatches
    from jaxcnn.data.sources import open_source

    files = _encoded()
    path = folder / "train" / "cat" / "0.jpg"
    path.parent.mkdir(parents=True)
    path.touch()
    source = open_source(str(folder), "train")

    def trial(draw):
        path.write_bytes(_with_checksums(mutated(draw.choice(files), draw)))
        config = DataConfig(
            image_size=24, channels=draw.choice((1, 3)), on_error=draw.choice(("stop", "skip"))
        )
        batches = TrainBatches(source, config=config, augment=AugmentConfig(), batch_size=1, seed=0)
        batch = batches[0]
        assert batch["image"].shape[1:3] == (24, 24)
        if not batch["weight"].all():
            raise UserError("skipped.")

    return trial


def _data_set(folder, file_format):
    """Eight digits as TFDS prepares them, in two files: their folder, and the records."""
    from jaxcnn.data.digits import prepared_digits
    from jaxcnn.data.sources import open_source

    version = folder / "digits" / "1.0.0"
    shutil.copytree(prepared_digits(), version)
    for old in version.glob("*array_record*"):
        old.unlink()
    digits = open_source("digits", "train")._records
    records = [[digits[4 * number + index] for index in range(4)] for number in range(2)]
    for number, each in enumerate(records):
        _write(version / f"digits-train.array_record-0000{number}-of-00002", each)

    def change(info):
        (info["splits"],) = ([s] for s in info["splits"] if s["name"] == "train")
        info["splits"][0]["shardLengths"] = ["4", "4"]

    describe(version, change)
    if file_format == "tfrecord":
        as_tfrecord(version, shards=2)
    return version, records


def _write(path, records):
    """A file of records, in the format that its name says."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorboardX.record_writer import RecordWriter

    if "array_record" in path.name:
        writer = ArrayRecordWriter(str(path), "group_size:1")
    else:
        path.unlink(missing_ok=True)
        writer = RecordWriter(str(path))
    for record in records:
        writer.write(record)
    writer.close()


def _read_data_set(folder):
    from jaxcnn.data.decode import decode
    from jaxcnn.data.sources import open_source

    source = open_source("digits", "train", data_dir=str(folder))
    for index in range(min(len(source), 8)):
        image, label, name = source[index]
        assert 0 <= label < len(source.class_names)
        decode(image, source.channels, name=name)


def _files(file_format, folder):
    """The files of a data set's records, and whole files of damaged records."""
    version, records = _data_set(folder, file_format)
    shards = {path: path.read_bytes() for path in sorted(version.glob(f"*{file_format}-*"))}

    def trial(draw):
        number, path = draw.choice(list(enumerate(sorted(shards))))
        if draw.random() < 0.5:
            path.write_bytes(mutated(shards[path], draw))
        else:
            _write(path, [mutated(records[number][0], draw), *records[number][1:]])
        try:
            _read_data_set(folder)
        finally:
            path.write_bytes(shards[path])

    return trial


def descriptions(folder):
    """What stands beside the records: dataset_info.json, features.json and the labels."""
    version, _ = _data_set(folder, "array_record")
    texts = {path: path.read_bytes() for path in version.iterdir() if path.suffix != ""}
    texts = {path: text for path, text in texts.items() if path.suffix in (".json", ".txt")}

    def trial(draw):
        path = draw.choice(sorted(texts))
        damage = mutated_json if path.suffix == ".json" else mutated
        path.write_bytes(damage(texts[path], draw))
        try:
            _read_data_set(folder)
        finally:
            path.write_bytes(texts[path])

    return trial


def tars(folder):
    """The two archives of ImageNet."""
    from jaxcnn.data.imagenet import prepare_imagenet
    from jaxcnn.data.sources import open_source

    write_imagenet(folder, imagenet_images())
    whole = {path: path.read_bytes() for path in sorted(folder.glob("*.tar"))}

    def trial(draw):
        path = draw.choice(sorted(whole))
        data = bytearray(whole[path])
        if draw.random() < 0.7:  # a field of a header, with a right checksum
            _change_header(data, draw)
            path.write_bytes(data)
        else:
            path.write_bytes(mutated(data, draw))
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                prepare_imagenet(folder, folder / "data", shards={"train": 2, "validation": 1})
                source = open_source("imagenet2012", "train", data_dir=str(folder / "data"))
            assert all(len(source[index].image) >= 0 for index in range(len(source)))
        finally:
            path.write_bytes(whole[path])
            shutil.rmtree(folder / "data", ignore_errors=True)

    return trial


def _change_header(data, draw):
    starts = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    at = draw.choice(starts)
    match draw.randrange(4):
        case 0:  # the name
            names = (b"../../../outside.tar", b"/outside", b"n01440764.tar\n", b"\xff" * 99, b"")
            data[at : at + 100] = draw.choice(names).ljust(100, b"\0")
        case 1:  # the size
            sizes = (b"77777777777", b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"\x80" + bytes(11))
            data[at + 124 : at + 136] = draw.choice(sizes).ljust(12, b"\0")
        case 2:  # the type: links, devices, directories, long names, extended headers, holes
            data[at + 156 : at + 157] = draw.choice([*b"0123456LKxgS"]).to_bytes(1, "big")
        case 3:  # what a link points at
            data[at + 157 : at + 257] = b"../../../outside".ljust(100, b"\0")
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])


def weights(folder):
    import jax
    import jax.numpy as jnp

    from jaxcnn import create_model, load_pretrained
    from jaxcnn.preprocessing import Preprocessing
    from jaxcnn.pretrained import save_weights
    from jaxcnn.pretrained.files import read_tensors

    ours = folder / "ours.safetensors"
    model = create_model("lenet5", num_classes=3)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    names, given = ("a", "b", "c"), Preprocessing.named("half", 1)
    save_weights(ours, model, variables, preprocessing=given, class_names=names)
    small = sorted((ROOT / "tests" / "weights").iterdir())
    files = {path.name: path.read_bytes() for path in [*small, ours]}
    path = folder / "damaged"

    def trial(draw):
        name = draw.choice([*files, *(4 * [ours.name])])
        if name == ours.name and draw.random() < 0.8:
            path.write_bytes(_with_header(files[name], draw))
        else:
            path.write_bytes(mutated(files[name], draw))
        read_tensors(path)
        load_pretrained("lenet5", path)

    return trial


def _with_header(data, draw):
    """A safetensors file with another header of the right length."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    if draw.random() < 0.7:  # what we say of the network
        key = draw.choice(("fields", "preprocessing", "class_names"))
        header["__metadata__"][key] = mutated_json(
            header["__metadata__"][key].encode(), draw
        ).decode("latin-1")
        text = json.dumps(header).encode()
    else:
        text = mutated_json(json.dumps(header).encode(), draw)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def configurations(folder):
    """A configuration file, and the words of a command line."""
    from experiments import commandline
    from experiments.options import options_of
    from experiments.values import shown
    from experiments.vgg_imagenet import RECIPE

    path = folder / "mine.py"
    text = (
        "import dataclasses\n"
        "from experiments.vgg_imagenet import RECIPE\n"
        "digits = RECIPE.presets['digits']\n"
        "optimizer = dataclasses.replace(digits.optimizer, name='adamw', weight_decay=0.05)\n"
        "config = dataclasses.replace(digits, optimizer=optimizer, seed=3)\n"
    )
    options = options_of(RECIPE.presets["digits"], "--config.")
    words = [f"{name}={shown(field.default)}" for name, field in options.items()]

    def trial(draw):
        path.write_text(text)
        argv = [draw.choice((f"--config={path}", "--config=digits"))]
        match draw.randrange(4):
            case 0:
                path.write_text(mutated_words(text, draw))
            case 1:  # a value
                name, _, value = draw.choice(words).partition("=")
                argv.append(f"{name}={mutated_words(value, draw)}")
            case 2:  # the value of another field
                (name, _, _), (_, _, value) = (draw.choice(words).partition("=") for _ in range(2))
                argv.append(f"{name}={value}")
            case 3:
                argv += [mutated_words(draw.choice(words), draw) for _ in range(draw.randint(1, 2))]
        config, _ = commandline.parse(
            argv, presets=RECIPE.presets, default=RECIPE.default, program="", description=""
        )
        config.check()

    return trial


def work_directories(folder):
    """The JSON files of a finished run."""
    from experiments import report
    from experiments.commandline import to_dict
    from experiments.images import STATISTICS, statistics_of
    from experiments.members import run_config
    from experiments.outcomes import read_outcome
    from experiments.vgg_imagenet import RECIPE
    from experiments.workdir import CONFIG, DATA, RESULT, Workdir
    from jaxcnn.data.statistics import IMAGENET_STATISTICS
    from jaxcnn.training.records import Records, read_metrics

    digits, data = RECIPE.presets["digits"], {"train_examples": 1438, "class_names": ["0", "1"]}
    config = dataclasses.replace(
        digits, data=dataclasses.replace(digits.data, normalization="mean")
    )
    measured = json.loads((ROOT / "docs/results/vgg_imagenet_digits.json").read_text())["result"]
    result = {"seconds": 64, "continued": False} | measured
    statistics = IMAGENET_STATISTICS.to_json()
    contents = {CONFIG: to_dict(config), DATA: data, RESULT: result, STATISTICS: statistics}
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))
    with Records(folder, step=0) as records:
        for kind in ("train", "epoch", "eval"):
            records.metrics(kind, 1, 0.5, {"loss": 2.0, "accuracy": 0.25})
    files = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    workdir = Workdir(folder, config, data)

    def trial(draw):
        path = draw.choice(sorted(files))
        damage = mutated if path.suffix == ".jsonl" else mutated_json
        path.write_bytes(damage(files[path], draw))
        reading = [
            lambda: report.text(workdir.inspect(state_bytes=1) or result, folder),
            lambda: run_config(str(folder)),
            lambda: read_outcome(folder, 0),
            lambda: read_metrics(folder / "metrics.jsonl"),
            lambda: statistics_of(None, config, folder, show=False),
            lambda: Records(folder, step=1).close(),
        ]
        refusals = []
        try:
            for read in reading:
                try:
                    read()
                except UserError as error:
                    refusals.append(error)
        finally:
            for name, content in files.items():
                name.write_bytes(content)
            shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        if refusals:
            raise refusals[0]

    return trial


def checkpoints(folder):
    """All files of a checkpoint."""
    import jax

    from jaxcnn.training.checkpoints import (
        Checkpoints,
        best_checkpoint,
        damage,
        meta_of,
        read_variables,
        variables_of,
    )

    array = jax.numpy.arange(24, dtype="float32").reshape(4, 6)
    state = {"params": {"conv1_1": {"kernel": array}}, "batch_stats": {}, "step": array[0, 0]}
    store = Checkpoints(folder / "checkpoints", keep=2)
    store.save(1, state, {"config": {"seed": 1}})
    store.wait()
    step = folder / "checkpoints" / "1"
    files = {path: path.read_bytes() for path in sorted(step.rglob("*")) if path.is_file()}
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )

    def trial(draw):
        path = draw.choice([path for path, content in files.items() if content])
        is_json = files[path][:1] == b"{"
        path.write_bytes((mutated_json if is_json else mutated)(files[path], draw))
        try:
            if draw.random() < 0.5:  # as made by who also writes the manifest
                meta_of(step)
                variables_of(step)
            else:
                found, complaints = store.newest_sound()
                assert (found is None) == (damage(step) is not None) == bool(complaints)
                if found is None:
                    best_checkpoint(folder)
                else:
                    store.restore(found, like)
                read_variables(folder)
        finally:
            for name, content in files.items():
                name.parent.mkdir(parents=True, exist_ok=True)
                name.write_bytes(content)

    return trial


KINDS = {
    "images": Kind(images, 6),
    "tfrecord": Kind(functools.partial(_files, "tfrecord"), 2),
    "array_record": Kind(functools.partial(_files, "array_record"), 2),
    "descriptions": Kind(descriptions, 2),
    "tars": Kind(tars, 1),
    "weights": Kind(weights, 3),
    "configurations": Kind(configurations, 2),
    "workdirs": Kind(work_directories, 2),
    "checkpoints": Kind(checkpoints, 1),
}
