"""The largest batch that fits is found with few tries, and the sizes are those XLA gives."""

import chex
import jax
import numpy as np
import pytest

from experiments import largest_batch
from experiments.largest_batch import Tried, search
from jaxcnn.training.devices import ParallelConfig, make_layout

pytestmark = pytest.mark.usefixtures("compile_quickly")


@pytest.mark.parametrize("unit", [1, 8, 96])
@pytest.mark.parametrize("limit", [99, 5_000, 60_000, 10**7])
@pytest.mark.parametrize("curve", [0, 40, -0.002])
def test_the_largest_is_found_with_few_tries(unit, limit, curve):
    """Of steps whose memory is a line, but for steps in it and a bend."""
    tried = []

    def memory(batch):
        return int(90 + 7 * batch + (curve * batch**2 if abs(curve) < 1 else batch % 3 * curve))

    def try_batch(batch):
        tried.append(batch)
        return Tried(batch, memory(batch) if memory(batch) < 2 * limit else None)

    most = 2_000 - 2_000 % unit
    found = search(try_batch, unit=unit, most=most, limit=limit)
    batch = 0 if found is None else found.batch
    assert batch % unit == 0
    assert batch == 0 or memory(batch) <= limit
    assert batch == most or memory(batch + unit) > limit
    assert len(tried) == len(set(tried)) <= 20


OPTIONS = ["lenet_mnist", "--config=digits"]


def test_the_command_says_what_fits(capsys):
    memory = ["--memory=0.004", "--config.train.accumulate=2", "--config.parallel.devices=2"]
    assert largest_batch.main([*OPTIONS, *memory]) == 0
    heading, columns, *rows, result = capsys.readouterr().out.splitlines()
    assert "lenet_mnist digits" in heading
    assert "of 0.004 GiB on cpu (2 devices" in columns
    fits = {int(row.split()[0]): "does not fit" not in row for row in rows}
    largest = max(batch for batch, does in fits.items() if does)
    assert result == (
        f"The largest batch that fits is --config.train.batch_size={largest}, {largest // 2} on "
        "each of 2 devices."
    )
    # The next one was tried too: whole micro-batches on both devices.
    assert not fits[largest + 4]
    assert all(batch % 4 == 0 for batch in fits)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_what_is_compiled_for_is_what_a_training_has(mode):
    layout = make_layout(ParallelConfig(mode=mode))
    state = {"params": {"fc6": {"bias": np.zeros(6, np.float32)}}}
    batch = {"image": np.zeros((16, 2, 2, 3), np.uint8), "label": np.zeros(16, np.int32)}
    real = layout.distribute(state), layout.place(batch)
    jax.tree.map(
        lambda ours, x: (
            chex.assert_equal((ours.shape, ours.dtype), (x.shape, x.dtype)),
            chex.assert_equal(ours.sharding.is_equivalent_to(x.sharding, x.ndim), True),
        ),
        layout.shapes(state, batch),
        real,
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            [*OPTIONS, "--memory=0.0001", "--config.parallel.devices=1"],
            "not even a batch of 1 fits the 0.000 GiB of one device",
        ),
        ([*OPTIONS, "--memory=plenty"], "--memory=plenty must be a number of GiB"),
        ([*OPTIONS, "--memory=0"], "above 0"),
        (["lenet_mnits"], "lenet_mnist"),
        ([*OPTIONS, "--config.parallel.detect=True"], "found by one process"),
    ],
)
def test_a_mistake_is_one_sentence(options, words, capsys):
    assert largest_batch.main(options) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1


def test_what_is_free_is_known():
    layout = make_layout(ParallelConfig(devices=2))
    assert 2**20 < largest_batch.available(layout) < 2**50


def test_all_training_images_may_fit(capsys):
    assert (
        largest_batch.main(["lenet_mnist", "--config=digits", "--config.train.batch_size=64"]) == 0
    )
    assert capsys.readouterr().out.endswith(
        "=1432, 179 on each of 8 devices, all training images.\n"
    )
