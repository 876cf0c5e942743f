"""What GPUs and TPUs are handed, read from the StableHLO of steps lowered for them on CPU.

Nothing is compiled or run, so that these guards need no accelerator. They hold what the steps ask
of XLA, not what XLA makes of it: fusions, layouts, memory and speed need the device.

Limits. ``jax.pmap`` lowers for the default platform alone: for another one, its program is that of
a ``jax.jit`` around it, and the arguments that it gives up by itself are read from its program for
CPU. The deterministic mode is an XLA flag and changes no program: the guard is that no step has an
operation that the flag would make slow. Without x64, JAX turns float64 into float32 before it is
lowered, so float64 comes only from code that turns x64 on.

The rule for transpositions is in ``accelerator_programs._transposed``. One exception is known:
``adaptive_average_pool`` transposes, and it comes before a convolution in GoogLeNet-BN's auxiliary
classifiers, and in those of GoogLeNet and in LeNet-5 on images of another size than the paper's.
"""

import re

import accelerator_programs as programs
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from accelerator_programs import CLASSES, EXAMPLES, FORMS, PLATFORMS, lower, lowered, read
from flax import linen as nn

from jaxcnn import list_models
from jaxcnn.models import create_model
from jaxcnn.training.layouts import PmapLayout

# Lowered in all forms, by the full suite: at least one of each family, layer and option.
IN_ALL_FORMS = {
    "alexnet",
    "alexnet_bn",
    "alexnet_one_tower",
    "alexnet_owt",
    "alexnet_pool_bn",
    "googlenet",
    "googlenet_bn",
    "lenet5",
    "lenet5_1998",
    "mnist_cnn",
    "plain20",
    "resnet18",
    "resnet20",
    "resnet50",
    "resnet50_nobn",
    "vgg11",
    "vgg11_bn",
    "vgg11_lrn",
    "vgg16_1x1_bn",
    "vgg16_average",
    "zfnet",
}
# Of these the quick suite lowers so: groups and dropout, BatchNorm and shortcuts, neither.
QUICK_IN_ALL_FORMS = {"alexnet", "lenet5", "resnet20"}
IN_BRIEF = ("train", "evaluate", "evaluate-float32")
# Those that the quick suite lowers in these forms: every family, with and without BatchNorm.
QUICK_IN_BRIEF = {
    "alexnet_bn",
    "googlenet",
    "googlenet_bn",
    "lenet5_1998",
    "mnist_cnn",
    "plain20",
    "resnet50",
    "resnet50_nobn",
    "vgg11",
    "vgg11_bn",
    "zfnet",
}


def cases(*forms):
    """Networks and forms of the step, of which the quick suite has a few."""
    return pytest.mark.parametrize(
        ("name", "form"),
        [
            pytest.param(
                name,
                form,
                id=f"{name}-{form}",
                marks=[]
                if name in QUICK_IN_ALL_FORMS or (name in QUICK_IN_BRIEF and form in IN_BRIEF)
                else pytest.mark.full,
            )
            for name in list_models()
            for form in forms
            if name in IN_ALL_FORMS or form in IN_BRIEF
        ],
    )


everything = cases(*FORMS)


def on_each(value):
    """The same on every platform."""
    return dict.fromkeys(PLATFORMS, value)


def of_each(step, fact):
    return {platform: fact(program) for platform, program in step.programs.items()}


def what_is_not_a_layer(step, form):
    """What is wrong with the convolutions, in words; empty if there is one for each layer."""

    def wrong(program):
        layers, found = step.layers, []
        # Computed again for the backward pass, a layer is there twice, and no layer three times.
        forward, most = program.kernels("forward"), layers + layers if form.remat else layers
        if not layers <= forward <= most:
            found.append(f"forward {dict(forward)}, layers {dict(layers)}")
        if form.train and program.kernels("kernel") != layers:
            found.append(f"gradients of kernels {dict(program.kernels('kernel'))}")
        # The gradient with respect to the images is not asked for. That of a grouped convolution
        # takes the kernel in another shape.
        images = program.kernels("images").total()
        if images != (layers.total() - 1 if form.train else 0):
            found.append(f"gradients of maps: {images}")
        return found

    return of_each(step, wrong)


def types_of_convolutions(program):
    return {kind for convolution in program.convolutions for kind in convolution.types}


def what_is_not_given_up(step):
    """What is wrong with the memory of what a step carries, in words."""

    def wrong(program):
        found = []
        if sorted(program.given_up) != sorted(step.carried):
            found.append(f"{len(program.given_up)} of {len(step.carried)} arguments are given up")
        if len(program.results) != len(step.carried) + step.others:
            found.append(f"{len(program.results)} results")
        return found

    return of_each(step, wrong)


@everything
def test_each_layer_is_one_convolution_and_none_has_its_form_for_cpu(name, form):
    step = lowered(name, form)
    assert step.layers.total() > 1
    assert not any(EXAMPLES in kernel for kernel in step.layers)
    assert what_is_not_a_layer(step, FORMS[form]) == on_each([])


@everything
def test_nothing_is_computed_in_float64(name, form):
    assert of_each(lowered(name, form), lambda program: program.float64) == on_each(())


@everything
def test_convolutions_are_in_the_type_asked_for_and_the_state_in_float32(name, form):
    step = lowered(name, form)
    asked = {"bfloat16": "bf16", "float32": "f32"}[FORMS[form].dtype]
    assert of_each(step, types_of_convolutions) == on_each({asked})
    for program in step.programs.values():
        assert [x for x in (*program.arguments, *program.results) if "bf16" in x] == []


@everything
def test_no_map_is_transposed_between_convolutions(name, form):
    step = lowered(name, form)
    assert of_each(step, lambda program: program.transposed) == on_each(())
    for program in step.programs.values():
        assert {c.role for c in program.convolutions} <= {"forward", "images", "kernel"}


@everything
def test_all_memory_of_the_state_or_the_sums_is_given_up(name, form):
    assert what_is_not_given_up(lowered(name, form)) == on_each([])


@everything
def test_the_deterministic_mode_has_nothing_to_put_in_order(name, form):
    # An evaluation counts by class: a sum of whole numbers is the same in any order.
    allowed = set() if FORMS[form].train else {f"{CLASSES}xi32"}
    for program in lowered(name, form).programs.values():
        assert set(program.unordered) <= allowed


def test_every_family_is_lowered_in_the_quick_suite():
    families = {type(create_model(name, num_classes=CLASSES)) for name in list_models()}
    quick = QUICK_IN_ALL_FORMS | QUICK_IN_BRIEF
    assert {type(create_model(name, num_classes=CLASSES)) for name in quick} == families
    assert quick <= IN_ALL_FORMS <= set(list_models())


# Each guard, and a fault that it must find.


def chosen(name, form, **how):
    """A network's step, made in another way than a run makes it on an accelerator."""
    dtype = jnp.dtype(form.dtype)
    return lower(
        create_model(name, num_classes=CLASSES, dtype=dtype), programs.side(name), form, **how
    )


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("alexnet", "train-float32"),  # groups
        ("resnet50", "evaluate-float32"),  # 1 x 1
    ],
)
def test_the_form_for_cpu_would_be_found(name, form):
    step = chosen(name, FORMS[form], convolution="products")
    assert all(what_is_not_a_layer(step, FORMS[form]).values())


def test_a_choice_that_ignores_the_platform_would_be_found(monkeypatch):
    """Such as one by the default backend, which on this machine is the CPU."""
    monkeypatch.setattr(programs, "PLATFORMS", {"cuda": jax.default_backend(), "tpu": "tpu"})
    form = FORMS["evaluate-float32"]
    found = what_is_not_a_layer(chosen("resnet50_nobn", form), form)
    assert found["cuda"] != []
    assert found["tpu"] == []


def test_float64_would_be_found():
    with jax.enable_x64(True):
        text = jax.jit(lambda x: x * np.float64(0.1)).lower(jnp.zeros(3, jnp.float32)).as_text()
    assert read(text).float64 != ()


def test_convolutions_in_float32_would_be_found():
    step = chosen("lenet5", FORMS["train-float32"])
    assert types_of_convolutions(step.programs["cuda"]) == {"f32"}

    def mixed(x, kernel):
        """As of a gradient whose type is not that of the forward pass."""
        return nn.Conv(4, (3, 3), dtype=jnp.bfloat16).apply({"params": kernel}, x).astype(
            jnp.float32
        ) + nn.Conv(4, (3, 3)).apply({"params": kernel}, x)

    kernel = {"kernel": jnp.zeros((3, 3, 3, 4)), "bias": jnp.zeros(4)}
    text = jax.jit(mixed).lower(jnp.zeros((EXAMPLES, 8, 8, 3)), kernel).as_text()
    assert types_of_convolutions(read(text)) == {"bf16", "f32"}


class Turning(nn.Module):
    """Two convolutions with maps turned between them, or in front of them."""

    between: str

    num_classes: int = CLASSES
    dtype: str = "bfloat16"
    axis_name: str | None = None
    conv_general_dilated: object = None

    @nn.compact
    def __call__(self, x, *, train=False):
        def turned(x):
            return jnp.transpose(x, (0, 2, 1, 3))

        fields = {"dtype": jnp.dtype(self.dtype), "conv_general_dilated": self.conv_general_dilated}
        if self.between == "images":
            x = turned(x)
        x = nn.relu(nn.Conv(8, (3, 3), **fields, name="conv1")(x))
        if self.between == "maps":
            x = nn.relu(turned(x))
        if self.between == "maps in a function":
            x = jax.jit(lambda x: jax.jit(turned)(x) * 2)(x)
        x = nn.Conv(8, (3, 3), **fields, name="conv2")(x)
        if self.between == "nothing":  # the last map alone is turned
            x = turned(x)
        return nn.Dense(CLASSES, name="logits")(x.reshape(x.shape[0], -1).astype(jnp.float32))


@pytest.mark.parametrize("form", ["train", "train-pmap", "train-remat", "evaluate"])
@pytest.mark.parametrize("between", ["nothing", "images", "maps", "maps in a function"])
def test_a_transposed_map_would_be_found(between, form):
    step = lower(Turning(between), 16, FORMS[form])
    found = of_each(step, lambda program: program.transposed != ())
    assert found == on_each(between != "nothing")


def test_convolutions_of_another_order_would_be_found():
    def convolve(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
        )

    x, kernel = jnp.zeros((EXAMPLES, 3, 8, 8)), jnp.zeros((4, 3, 3, 3))
    (found,) = read(jax.jit(convolve).lower(x, kernel).as_text()).convolutions
    assert found.role not in ("forward", "images", "kernel")


@pytest.mark.full
@pytest.mark.parametrize("name", ["googlenet", "googlenet_bn"])
def test_averages_before_a_convolution_are_the_one_known_exception(name):
    """On the 224 pixels of the paper, where GoogLeNet-BN's auxiliary classifiers have them."""
    model = create_model(name, num_classes=CLASSES, dtype=jnp.bfloat16)
    for program in lower(model, 224, FORMS["train"]).programs.values():
        # For each classifier one in the forward pass and three in the backward pass, all in the
        # float32 of the average.
        found = [re.search(r"-> tensor<.*x(\w+)>", line)[1] for line in program.transposed]
        assert found == (["f32"] * 8 if name == "googlenet_bn" else [])
    for program in lower(model, 224, FORMS["evaluate"]).programs.values():
        assert program.transposed == ()


@pytest.mark.parametrize("form", ["train", "train-pmap", "evaluate"])
def test_a_step_that_keeps_its_arguments_would_be_found(form):
    step = chosen("lenet5", FORMS[form], donate=False)
    assert all(what_is_not_given_up(step).values())


@pytest.mark.parametrize("donate", [(0,), ()], ids=["given up", "kept"])
def test_pmap_by_itself_gives_up_what_it_is_told_to(donate):
    """An accelerator has no compiler options of ours, so that no ``jax.jit`` is around it."""
    layout = PmapLayout(tuple(jax.devices()[:2]), plainly=True)
    compiled = layout.compile(lambda state, batch: state + batch["image"].sum(), donate=donate)
    state, batch = layout.shapes(
        jax.ShapeDtypeStruct((3,), jnp.float32),
        {"image": jax.ShapeDtypeStruct((2, 5), jnp.float32)},
    )
    program = read(compiled.lower(state, batch).as_text())
    assert program.given_up == (("2x3xf32",) if donate else ())


def test_scattered_additions_would_be_found():
    values, places = jnp.zeros(8), jnp.arange(3)
    text = jax.jit(lambda x, i: x.at[i].add(1.0)).lower(values, places).as_text()
    assert read(text).unordered == ("8xf32",)

    def pool(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2,), (2,), "VALID").sum()

    assert read(jax.jit(jax.grad(pool)).lower(values).as_text()).unordered == ("8xf32",)
