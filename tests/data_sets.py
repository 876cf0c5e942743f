"""Small data sets in the formats of their publishers, and of TFDS, for tests to write."""

import gzip
import io
import json
import tarfile

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorboardX.record_writer import RecordWriter

SYNSETS = ("n01440764", "n01739381", "n02105855")
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
STL10_CLASSES = (
    "airplane",
    "bird",
    "car",
    "cat",
    "deer",
    "dog",
    "horse",
    "monkey",
    "ship",
    "truck",
)


def jpeg(value, mode="RGB", image_format="jpeg"):
    """A plain image of 8 rows and 9 to 13 columns."""
    file = io.BytesIO()
    Image.new(mode, (9 + value % 5, 8), (value,) * len(mode)).save(file, image_format)
    return file.getvalue()


def add(tar, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def tar_of(files):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            add(tar, name, content)
    return data.getvalue()


def tar_gz(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            add(tar, name, data)


def imagenet_images(make=jpeg):
    """A small ILSVRC-2012 by split and name: a grey and a CMYK JPEG, and a PNG named JPEG."""
    train = {
        f"{synset}_{number}.JPEG": make(10 * label + number)
        for label, synset in enumerate(SYNSETS)
        for number in range(1, 8)
    }
    train["n01440764_8.JPEG"] = make(8, "L")
    train["n01739381_1310.JPEG"] = make(9, "CMYK")
    train["n02105855_2934.JPEG"] = make(10, image_format="png")
    validation = {f"ILSVRC2012_val_{i:08}.JPEG": make(100 + i) for i in range(1, 12)}
    return {"train": train, "validation": validation}


def write_imagenet(folder, images):
    """The two tars of image-net.org, the validation images in no order."""
    classes = {
        f"{synset}.tar": tar_of({k: v for k, v in images["train"].items() if k.startswith(synset)})
        for synset in SYNSETS
    }
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of(classes))
    unordered = dict(reversed(images["validation"].items()))
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_of(unordered))


# Each of these gives, by split, the pixels (bytes in rows of pixels) and labels that it wrote.


def write_mnist(folder, train=30, test=10):
    """MNIST's four files; TFDS must be told how many images there are."""
    random = np.random.default_rng(0)
    written = {}
    for split, prefix, count in (("train", "train", train), ("test", "t10k", test)):
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        labels = random.integers(0, 10, count, np.uint8)
        with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
            file.write(np.array([2051, count, 28, 28], ">i4").tobytes() + images.tobytes())
        with gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(np.array([2049, count], ">i4").tobytes() + labels.tobytes())
        written[split] = _pairs(images, labels)
    return written


def write_cifar10(folder, of_each_file=4):
    files = {"batches.meta.txt": "\n".join([*CIFAR10_CLASSES, ""]).encode()}
    random = np.random.default_rng(0)
    written = {"train": set(), "test": set()}
    for file in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        images = random.integers(0, 256, (of_each_file, 3, 32, 32), np.uint8)
        labels = random.integers(0, 10, of_each_file, np.uint8)
        files[file] = b"".join(
            bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True)
        )
        split = "test" if file.startswith("test") else "train"
        written[split] |= _pairs(images.transpose(0, 2, 3, 1), labels)
    tar_gz(
        folder / "cifar-10-binary.tar.gz",
        {f"cifar-10-batches-bin/{name}": data for name, data in files.items()},
    )
    return written


def write_stl10(folder, of_each_split=6):
    files = {"class_names.txt": "\n".join([*STL10_CLASSES, ""]).encode()}
    random = np.random.default_rng(0)
    written = {}
    for split in ("train", "test", "unlabeled"):
        images = random.integers(0, 256, (of_each_split, 3, 96, 96), np.uint8)
        labels = random.integers(1, 11, of_each_split, np.uint8)
        files[f"{split}_X.bin"] = images.tobytes()
        if split != "unlabeled":
            files[f"{split}_y.bin"] = labels.tobytes()
            written[split] = _pairs(images.transpose(0, 3, 2, 1), labels - 1)
    tar_gz(
        folder / "stl10_binary.tar.gz",
        {f"stl10_binary/{name}": data for name, data in files.items()},
    )
    return written


def _pairs(images, labels):
    return {(image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}


def describe(folder, change):
    """Edits what TFDS wrote about a data set."""
    path = folder / "dataset_info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def as_tfrecord(folder, shards=3):
    """Turns a data set in array_record files into one in tfrecord files, as many copies are."""
    builder = tfds.builder_from_directory(folder)
    for split in list(builder.info.splits):
        source = builder.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )
        parts = np.array_split(np.arange(len(source)), shards)
        for number, part in enumerate(parts):
            name = f"{builder.name}-{split}.tfrecord-{number:05}-of-{shards:05}"
            writer = RecordWriter(str(folder / name))
            for index in part:
                writer.write(source[int(index)])
            writer.close()

        def change(info, split=split, parts=parts):
            (entry,) = (each for each in info["splits"] if each["name"] == split)
            entry["shardLengths"] = [str(len(part)) for part in parts]

        describe(folder, change)
    describe(folder, lambda info: info.update(fileFormat="tfrecord"))
    for path in folder.glob("*.array_record-*"):
        path.unlink()
