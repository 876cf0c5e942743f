import dataclasses
import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.decode import decode
from jaxcnn.data.pipeline import EvalBatches, TrainBatches, iterate, shuffled
from jaxcnn.data.sources import Example, open_source
from jaxcnn.errors import UserError


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Small PNGs of random size and colours; those in `broken` are not images."""

    count: int
    broken: tuple[int, ...] = ()
    name: str = "pictures"
    class_names: tuple[str, ...] = ("a", "b", "c")
    channels: int = 3

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        generator = np.random.default_rng(index)
        height, width = generator.integers(12, 30, 2)
        pixels = generator.integers(0, 256, (height, width, 3), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
        data = b"no image" if index in self.broken else stream.getvalue()
        return Example(data, index % 3, f"picture {index}")


CONFIG = DataConfig(image_size=12)
AUGMENT = AugmentConfig(scale_min=12, scale_max=20, pad=1)


def train_batches(source=None, batch_size=8, seed=3, config=CONFIG, augment=AUGMENT, **shared):
    source = Pictures(50) if source is None else source
    return TrainBatches(
        source, config=config, augment=augment, batch_size=batch_size, seed=seed, **shared
    )


def eval_batches(source, batch_size=8, config=CONFIG, **shared):
    return EvalBatches(source, config=config, augment=AUGMENT, batch_size=batch_size, **shared)


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_array_equal(left[name], right[name])


def joined(batches):
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def test_a_batch_has_the_shapes_and_types_promised():
    batch = train_batches()[0]
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        "image": ((8, 12, 12, 3), "uint8"),
        "label": ((8,), "int32"),
        "index": ((8,), "int32"),
        "weight": ((8,), "float32"),
    }
    np.testing.assert_array_equal(batch["label"], batch["index"] % 3)
    np.testing.assert_array_equal(batch["weight"], 1)


def test_an_epoch_uses_no_example_twice_and_leaves_out_the_remainder():
    batches = train_batches(batch_size=8)
    assert batches.steps_per_epoch == 6
    epochs = [
        np.concatenate([batches[epoch * 6 + number]["index"] for number in range(6)])
        for epoch in range(3)
    ]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 48
    assert set(epochs[0].tolist()) != set(epochs[1].tolist())  # others are left out
    assert epochs[1].tolist() != epochs[2].tolist()


@pytest.mark.parametrize("count", [1, 2, 5, 64, 1797])
def test_the_order_of_an_epoch_is_a_permutation(count):
    order = shuffled(range(count), count, seed=0, epoch=0)
    assert sorted(order) == list(range(count))


def test_the_order_depends_on_seed_and_epoch_and_looks_random():
    count = 2000
    orders = [
        shuffled(range(count), count, seed, epoch) for seed, epoch in [(0, 0), (0, 1), (1, 0)]
    ]
    for order in orders:
        assert abs(np.corrcoef(order, range(count))[0, 1]) < 0.1
        # Quarters of the order draw evenly from the quarters of the examples.
        table = np.histogram2d(range(count), order, bins=4)[0]
        assert abs(table - count / 16).max() < 45
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert np.mean(np.equal(orders[one], orders[other])) < 0.01


def test_a_batch_is_a_pure_function_of_seed_and_step():
    step = 17
    batch = train_batches()[step]
    assert_same(batch, train_batches()[step])
    assert_same(batch, pickle.loads(pickle.dumps(train_batches()))[step])
    assert (batch["image"] != train_batches(seed=4)[step]["image"]).any()


def test_an_example_looks_different_in_every_epoch():
    batches = train_batches(Pictures(8))
    first, second = (
        batch["image"][np.argsort(batch["index"])] for batch in (batches[0], batches[1])
    )
    assert all((one != other).any() for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("process_count", [2, 4])
def test_processes_share_the_same_global_batches(process_count):
    def shares(make, number):
        return joined(
            [
                make(process_index=index, process_count=process_count)[number]
                for index in range(process_count)
            ]
        )

    whole = train_batches()[9]
    assert_same(whole, shares(train_batches, 9))
    for index in range(process_count):
        share = train_batches(process_index=index, process_count=process_count)
        assert share.indices(9) == whole["index"].tolist()
    source = Pictures(21)
    last = eval_batches(source)[2]
    assert_same(last, shares(lambda **shared: eval_batches(source, **shared), 2))


@pytest.mark.parametrize(
    ("workers", "threads", "prefetch"), [(0, 1, 1), (0, 8, 2), (2, 1, 4), (2, 8, 1)]
)
def test_workers_and_threads_change_no_bit(workers, threads, prefetch):
    config = dataclasses.replace(CONFIG, workers=workers, threads=threads, prefetch=prefetch)
    batches = train_batches()
    with iterate(batches, 4, 11, config) as stream:
        read = list(stream)
    assert len(read) == 7
    for step, batch in enumerate(read, start=4):
        assert_same(batch, batches[step])


@pytest.mark.parametrize("batch_size", [1, 7, 21, 64])
def test_evaluation_has_every_example_once(batch_size):
    source = Pictures(21)
    batches = eval_batches(source, batch_size)
    with iterate(batches, 0, len(batches), CONFIG) as stream:
        everything = joined(list(stream))
    assert len(everything["index"]) == -(-21 // batch_size) * batch_size
    real = everything["weight"] == 1
    assert everything["index"][real].tolist() == list(range(21))
    padding = {name: array[~real] for name, array in everything.items()}
    assert (padding["index"] == -1).all()
    assert not padding["image"].any()
    assert not padding["label"].any()
    with pytest.raises(IndexError):
        batches[len(batches)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_stops_the_run_at_its_batch_by_name(workers):
    config = dataclasses.replace(CONFIG, workers=workers)
    batches = eval_batches(Pictures(20, broken=(9,)), batch_size=4)
    with iterate(batches, 0, len(batches), config) as stream:
        for number in range(2):
            assert_same(next(stream), batches[number])
        with pytest.raises(UserError) as error:
            next(stream)
    assert str(error.value).startswith("'picture 9' is not an image")
    assert str(error.value).endswith("--config.data.on_error=skip.")


def test_a_broken_image_is_skipped_and_can_be_counted():
    config = dataclasses.replace(CONFIG, on_error="skip")
    batch = eval_batches(Pictures(6, broken=(1, 4)), config=config)[0]
    assert batch["index"].tolist() == [0, 1, 2, 3, 4, 5, -1, -1]
    assert batch["weight"].tolist() == [1, 0, 1, 1, 0, 1, 0, 0]
    assert not batch["image"][[1, 4]].any()
    whole = eval_batches(Pictures(6))[0]
    np.testing.assert_array_equal(batch["image"][[0, 2, 3, 5]], whole["image"][[0, 2, 3, 5]])


def test_channels_default_to_the_source_and_can_be_overridden():
    config = dataclasses.replace(CONFIG, channels=1)
    assert train_batches(config=config)[0]["image"].shape == (8, 12, 12, 1)


def test_leaving_early_ends_workers_and_threads():
    config = dataclasses.replace(CONFIG, workers=2, threads=2)
    with iterate(train_batches(), 0, 1000, config) as stream:
        next(stream)
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()


def test_no_more_processes_are_started_than_there_are_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    config = dataclasses.replace(CONFIG, workers=4, threads=4)
    with iterate(train_batches(), 0, 3, config) as stream:
        batches = list(stream)
        assert len(multiprocessing.active_children()) == 1
    for batch, expected in zip(batches, train_batches(), strict=False):
        np.testing.assert_array_equal(batch["image"], expected["image"])


@pytest.mark.parametrize("broken", [(), (30,)])
def test_nothing_is_left_behind_at_exit(tmp_path, broken):
    """Python would complain of what is left in shared memory, after the program's last word."""
    script = tmp_path / "main.py"
    script.write_text(
        f"""
import sys
sys.path.insert(0, sys.argv[1])
from test_pipeline import CONFIG, Pictures, UserError, dataclasses, iterate, train_batches

if __name__ == "__main__":
    config = dataclasses.replace(CONFIG, workers=2)
    try:
        with iterate(train_batches(Pictures(50, broken={broken})), 0, 6, config) as stream:
            print(len(list(stream)))
    except UserError as error:
        sys.exit(error.args[0])
"""
    )
    command = [sys.executable, script, os.path.dirname(__file__)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if broken:
        assert done.returncode == 1
        assert done.stderr.startswith("'picture 30' is not an image")
        assert done.stderr.count("\n") == 1
    else:
        assert (done.stdout, done.stderr) == ("6\n", "")


def test_an_empty_stretch_has_no_batches():
    with iterate(train_batches(), 5, 5, CONFIG) as stream:
        assert list(stream) == []


def test_workers_touch_no_device_and_end_with_a_main_process_that_is_killed(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        """
import multiprocessing, sys, time
sys.path.insert(0, sys.argv[1])
import jax
from test_pipeline import CONFIG, Pictures, train_batches, iterate, dataclasses

class Watched(Pictures):
    def __getitem__(self, index):
        assert not jax._src.xla_bridge.backends_are_initialized()
        return super().__getitem__(index)

if __name__ == "__main__":
    config = dataclasses.replace(CONFIG, workers=1, threads=1)
    with iterate(train_batches(Watched(50)), 0, 10**6, config) as stream:
        for batch in stream:
            for child in multiprocessing.active_children():
                print(child.pid, flush=True)
            time.sleep(60)
"""
    )
    command = [sys.executable, script, os.path.dirname(__file__)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as main:
        worker = int(main.stdout.readline() or pytest.fail(main.stderr.read().decode()))
        os.kill(worker, signal.SIGINT)  # as Ctrl-C does to the whole group
        os.kill(worker, signal.SIGTERM)
        time.sleep(0.2)
        os.kill(worker, 0)  # is still there
        main.kill()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the worker outlived the main process")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 0}, "data.image_size is 0; give 1 or more."),
        ({"channels": 4}, "data.channels is 4; give 1, 3, or None."),
        ({"workers": -1}, "data.workers is -1; give 0 or more."),
        ({"threads": 0}, "data.threads is 0; give 1 or more."),
        ({"prefetch": 0}, "data.prefetch is 0; give 1 or more."),
        ({"normalization": "mean_sd"}, "did you mean 'mean_std'?"),
        ({"on_error": "skipp"}, "did you mean 'skip'?"),
    ],
)
def test_a_wrong_setting_is_named(changes, message):
    with pytest.raises(UserError) as error:
        dataclasses.replace(CONFIG, **changes).check()
    assert message in str(error.value)


def test_settings_that_do_not_go_together_are_named():
    with pytest.raises(UserError, match=r"50 training images.*make train\.batch_size smaller"):
        train_batches(batch_size=51)
    with pytest.raises(UserError, match="cannot be shared evenly by 3 processes"):
        train_batches(process_count=3)
    with pytest.raises(UserError, match=r"augment\.scale_min is 12.*data\.image_size of 32"):
        train_batches(config=dataclasses.replace(CONFIG, image_size=32))


def test_padding_is_around_every_image():
    config = dataclasses.replace(CONFIG, padding=2)
    zeros = np.ones((12, 12), bool)
    zeros[2:-2, 2:-2] = False
    digits = open_source("digits", "train")
    augment = AugmentConfig(flip=False)
    train = train_batches(digits, config=config, augment=augment)[0]
    evaluated = EvalBatches(digits, config=config, augment=augment, batch_size=8)[0]
    for batch in (train, evaluated):
        assert not batch["image"][:, zeros].any()
        for image, index in zip(batch["image"], batch["index"], strict=True):
            pixels = decode(digits[index][0], 1)
            np.testing.assert_array_equal(image[2:-2, 2:-2], pixels)
