"""The deterministic mode: what XLA is told, and that no step of training needs what it forbids.

That a run on CPU ends with the same bits each time is tested where it is stopped and continued.
"""

import os
import re
import subprocess
import sys

import jax
import pytest

from experiments import vgg_imagenet
from experiments.plain_training import batch_shapes, plain_training
from experiments.run import main
from jaxcnn import list_models
from jaxcnn.errors import UserError
from jaxcnn.models import create_model
from jaxcnn.training.determinism import demand_determinism

ASKED = "--xla_gpu_deterministic_ops=true"
# One of each form of pool, normalisation, join and loss; the others are their kin.
FEW = {
    "alexnet",
    "alexnet_pool_bn",
    "googlenet_plain_stem",
    "lenet5",
    "lenet5_1998",
    "mnist_cnn",
    "plain20",
    "resnet18",
    "resnet50_nobn",
    "vgg11_lrn",
    "vgg16_1x1_bn",
    "vgg16_average",
    "zfnet",
}


def unordered(program):
    """The operations that threads of a GPU may do in any order, of those that move values."""
    return [
        line.strip()
        for line in program.splitlines()
        if re.search(r"stablehlo\.(select_and_)?scatter\"?\(", line)
        and "unique_indices = true" not in line
    ]


@pytest.mark.parametrize(
    "name",
    [name if name in FEW else pytest.param(name, marks=pytest.mark.full) for name in list_models()],
)
def test_no_step_of_training_scatters(name):
    size = 64 if name.startswith(("alexnet", "zfnet")) else 32
    create, step = plain_training(create_model(name, num_classes=10), size)
    traced = jax.jit(step).trace(jax.eval_shape(create), batch_shapes(2, size))
    assert unordered(traced.lower(lowering_platforms=("cuda",)).as_text()) == []


def test_what_scatters_would_be_found():
    values, places = jax.numpy.zeros(8), jax.numpy.arange(3)
    added = jax.jit(lambda x, i: x.at[i].add(1.0)).lower(values, places).as_text()
    once = jax.jit(lambda x, i: x.at[i].add(1.0, unique_indices=True)).lower(values, places)
    assert len(unordered(added)) == 1
    assert unordered(once.as_text()) == []

    def pool(x):
        return jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max, (2,), (2,), "VALID").sum()

    assert len(unordered(jax.jit(jax.grad(pool)).lower(values).as_text())) == 1


def test_xla_is_told_before_the_devices_start(tmp_path):
    code = (
        "from jaxcnn.training.determinism import demand_determinism\n"
        "demand_determinism()\n"
        "import jax\n"
        "jax.jit(lambda x: x + 1)(1.0)\n"
        "demand_determinism()\n"  # again, and no mistake
    )
    environment = os.environ | {"XLA_FLAGS": f"--xla_dump_to={tmp_path}", "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    told = [path.read_text() for path in tmp_path.glob("*debug_options")]
    assert told
    for options in told:
        assert "xla_gpu_deterministic_ops: true" in options


def test_too_late_and_the_opposite_are_one_sentence(monkeypatch, capsys, tmp_path):
    jax.devices()
    arguments = ["--config=digits", "--config.parallel.deterministic=True"]
    arguments += [f"--config.workdir={tmp_path / 'run'}"]
    before = os.environ["XLA_FLAGS"]
    assert main(vgg_imagenet.RECIPE, arguments) == 2
    errors = capsys.readouterr().err
    assert "too late" in errors
    assert errors.count("\n") == 1
    assert os.environ["XLA_FLAGS"] == before
    monkeypatch.setenv("XLA_FLAGS", f"{ASKED} --xla_gpu_deterministic_ops=false")
    with pytest.raises(UserError, match="XLA_FLAGS says --xla_gpu_deterministic_ops=false"):
        demand_determinism()
    monkeypatch.setenv("XLA_FLAGS", ASKED)
    demand_determinism()  # in time, by the environment
