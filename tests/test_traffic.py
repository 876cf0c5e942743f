"""What devices exchange: counted in steps whose exchanges are known, and in a network's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P
from layout_training import NETWORKS, own_batches, start

from experiments import traffic
from jaxcnn.cli.exit_status import run_main
from jaxcnn.training.devices import ParallelConfig, make_layout
from jaxcnn.training.traffic import exchanged_bytes

pytestmark = pytest.mark.usefixtures("compile_quickly")

MESH = Mesh(np.array(jax.devices()).reshape(2, 4), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
SHARE = 8 * 3 * 4  # the bytes of an array (64, 3) on each of the eight devices


def program(function, x=None):
    """Of a function of each device's share."""
    x = np.ones((64, 3), np.float32) if x is None else x
    mapped = jax.shard_map(
        function, mesh=MESH, in_specs=P(("a", "b")), out_specs=P(("a", "b")), check_vma=False
    )
    return jax.jit(mapped).lower(x).compile().as_text()


def in_turns(x, turns):
    return lax.fori_loop(0, turns, lambda i, x: lax.psum(x, "b") * i, x)


NEIGHBOURS = [(i, (i + 1) % 4) for i in range(4)]


@pytest.mark.parametrize(
    ("function", "kind", "sent"),
    [
        (lambda x: lax.psum(x, ("a", "b")), "all-reduce", 2 * 7 / 8 * SHARE),
        (lambda x: lax.psum(x, "b"), "all-reduce", 2 * 3 / 4 * SHARE),
        (lambda x: lax.psum(x, "a"), "all-reduce", 2 * 1 / 2 * SHARE),
        (lambda x: sum(lax.psum((x, x[:1]), "a")), "all-reduce", SHARE * 9 / 8),
        (lambda x: lax.all_gather(x, "b", tiled=True), "all-gather", 3 * SHARE),
        (lambda x: lax.psum_scatter(x, ("a", "b"), tiled=True), "reduce-scatter", 7 / 8 * SHARE),
        (lambda x: lax.all_to_all(x, "b", 0, 0, tiled=True), "all-to-all", 3 / 4 * SHARE),
        (lambda x: lax.ppermute(x, "b", NEIGHBOURS), "collective-permute", SHARE),
        (lambda x: lax.ppermute(x, "b", NEIGHBOURS[:1]), "collective-permute", SHARE),
        (lambda x: in_turns(x, 5), "all-reduce", 5 * 2 * 3 / 4 * SHARE),
        (
            lambda x: lax.while_loop(lambda x: x[0, 0] < 9, lambda x: lax.psum(x, "a") + 1, x),
            "all-reduce",
            SHARE,
        ),
    ],
)
def test_what_is_known_is_counted(function, kind, sent):
    assert exchanged_bytes(program(function)) == {kind: sent}


def test_what_stays_on_its_device_is_nothing():
    assert exchanged_bytes(program(jnp.sin)) == {}
    assert exchanged_bytes(program(lambda x: lax.ppermute(x, "b", [(1, 1)]))) == {}


LINE = "  %x = f32[8,128]{1,0} all-reduce(%y), replica_groups="


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("{{0,1},{2,3},{4,5},{6,7}}", 2),
        ("{{0},{1},{2},{3},{4},{5},{6},{7}}", 1),
        ("{}", 8),
        ("[2,4]<=[8]", 4),
        ("[4,2]<=[2,4]T(1,0)", 2),
        ("mesh['a'=2,'b'=4] {'b'}", 4),
        ("mesh['a'=2,'b'=4] {'a','b'}", 8),
        ("mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b':(2)2}", 2),
    ],
)
def test_groups_are_read_in_every_form(groups, size):
    text = f"HloModule m, num_partitions=8\nENTRY %main (y: f32[8,128]) -> f32[8,128] {{\n{LINE}"
    text += f"{groups}, to_apply=%add\n}}\n"
    assert exchanged_bytes(text).get("all-reduce", 0) == 2 * (size - 1) * 8 * 128 * 4 / size


# What accelerators make of exchanges, so that they go on beside the computation.
HALVES = """HloModule m, is_scheduled=true, replica_count=2, num_partitions=4

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%scatter (p: bf16[8,128]) -> bf16[1,128] {
  ROOT %r = bf16[1,128]{1,0} reduce-scatter(%p), replica_groups=[1,8]<=[8], to_apply=%add
}

ENTRY %main (y: f32[8,128]) -> f32[8,128] {
  %y = f32[8,128]{1,0:T(8,128)} parameter(0)
  %g = (f32[8,128]{1,0:T(8,128)}, f32[64,128]{1,0:T(8,128)}) all-gather-start(%y), \
replica_groups={}, dimensions={0}
  %h = f32[64,128]{1,0:T(8,128)} all-gather-done(%g)
  %p = (f32[8,128]{1,0}, f32[8,128]{1,0}, u32[], u32[]) collective-permute-start(%y), \
source_target_pairs={{0,1},{1,0}}
  %q = f32[8,128]{1,0} collective-permute-done((f32[8,128], f32[8,128], u32[], u32[]) %p)
  %s = ((bf16[8,128]), bf16[1,128], u32[]) async-start(%z), calls=%scatter
  %t = bf16[1,128]{1,0} async-done(%s), calls=%scatter
  %u = ((s8[8,128]), s8[8,128]) all-to-all-start(%v), replica_groups={{0,1},{2,3}}
  %w = s8[8,128]{1,0} all-to-all-done(%u)
}
"""


def test_an_exchange_in_two_halves_is_one():
    assert exchanged_bytes(HALVES) == {
        "all-gather": 7 * 8 * 128 * 4,
        "collective-permute": 8 * 128 * 4,
        "reduce-scatter": 7 * 128 * 2,
        "all-to-all": 8 * 128 / 2,
    }


# What is exchanged is settled before XLA makes each device's code, which takes the time.
@pytest.mark.parametrize(
    ("network", "optimized"),
    [
        ("alexnet", False),
        pytest.param("alexnet", True, marks=pytest.mark.full),
        ("vgg11_bn", False),
    ],
)
def test_data_parallelism_sums_the_gradients_and_little_else(network, optimized):
    layout = make_layout(ParallelConfig())
    step, state = start(layout, network)
    batch = layout.place(next(own_batches(layout, NETWORKS[network].size)))
    options = {"xla_backend_optimization_level": 3 if optimized else 0}
    sent = exchanged_bytes(step.lower(state, batch).compile(compiler_options=options).as_text())
    assert sent.keys() == {"all-reduce"}
    # Besides, BatchNorm's mean and variance forwards, and two sums of as many values and more
    # backwards; and the loss, the weights and the metrics, which are single numbers.
    gradients = sum(x.size for x in jax.tree.leaves(state.params))
    statistics = sum(x.size for x in jax.tree.leaves(state.batch_stats))
    besides = sent["all-reduce"] / 4 / (2 * 7 / 8) - gradients
    assert 3 <= besides <= 10 + 3 * statistics
    assert besides <= 10 or statistics


SMALL = ["--image_size=67", "--num_classes=16", "--batch_size=16"]


def test_the_command_compares(capsys):
    assert run_main(traffic.main, "traffic", ["--model=alexnet_one_tower", *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "alexnet_one_tower, batch 16, 67x67, float32, over 8 devices" in printed
    rows = {line[:22].strip(): line[22:].split() for line in printed.splitlines()[1:]}
    assert rows[""] == ["jit", "pmap", "model=2", "model=4", "model=8"]
    totals, memory = ([float(x) for x in rows[name]] for name in ("sent in a step", "memory"))
    assert totals[1] == pytest.approx(totals[0], abs=0.02)  # the same sums by another way
    for values in (totals, memory):
        del values[1]
        assert sorted(values, reverse=True) == values
        assert values[-1] < values[0] / 2
    kinds = np.array([rows[name] for name in rows if "-" in name], float)
    np.testing.assert_allclose(np.delete(kinds.sum(0), 1), totals, atol=0.03)
    assert rows["of the first"][0] == "100.0%"


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--model=alexnett", "alexnet"),
        ("--batch_size=12", "--batch_size=12 cannot be divided over 8 devices"),
        ("--devices=0", "--devices=0"),
        ("--image_size=16", "too small"),
        ("--split=fc66", "parallel.split=fc66 matches no layer"),
    ],
)
def test_a_mistake_is_one_sentence(argument, words, capsys):
    assert run_main(traffic.main, "traffic", [*SMALL, argument]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.count("\n") == 1


def test_more_devices_than_there_are_are_virtual_ones(capfd):
    size = ["--image_size=28", "--num_classes=10", "--batch_size=9"]
    assert run_main(traffic.main, "traffic", ["--model=mnist_cnn", "--devices=9", *size]) == 0
    printed = capfd.readouterr().out
    assert "over 9 devices (cpu)" in printed
    assert "model=9" not in printed  # nothing of it has a multiple of 9 outputs
