"""Steps lowered for accelerators that are not there, and what their StableHLO says.

``jax.jit(f).trace(...).lower(lowering_platforms=("cuda",))`` gives the program that XLA is handed
on a GPU without a GPU, and without compiling or running anything. What XLA makes of the program is
not seen here: its fusions, layouts and choices of algorithms need the device.
"""

import collections
import dataclasses
import functools
import re
import types

import jax
import jax.numpy as jnp

from experiments.network import on_devices
from experiments.plain_training import NORMALISE, batch_shapes
from jaxcnn.models import create_model
from jaxcnn.models.lenet import C3_TABLE
from jaxcnn.training.layouts import JitLayout, PmapLayout
from jaxcnn.training.metrics import ClassSums
from jaxcnn.training.optimizers import OptimizerConfig, averaging, make_optimizer
from jaxcnn.training.steps import create_state, make_eval_step, make_train_step

# As `lowering_platforms` has it, and as a device says it.
PLATFORMS = {"cuda": "gpu", "tpu": "tpu"}
# Examples of one device. No channels, kernel or map of these networks have such a side, so an axis
# of this length is the batch.
EXAMPLES = 23
CLASSES = 10
# The order of the axes in a forward convolution, in the gradient of its images and in that of its
# kernel, which JAX states in the operation and does not transpose for.
ORDERS = {
    "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]": "forward",
    "[b, 0, 1, f]x[0, 1, o, i]->[b, 0, 1, f]": "images",
    "[f, 0, 1, b]x[i, 0, 1, o]->[0, 1, b, f]": "kernel",
}


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One ``stablehlo.convolution``.

    Attributes:
      role: 'forward', or the gradient of 'images' or of a 'kernel'; else the order of the axes.
      kernel: the shape of the kernel, or of its gradient.
      types: the elements of both operands and the result.
    """

    role: str
    kernel: tuple[int, ...]
    types: tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Program:
    """What is asserted about.

    Attributes:
      convolutions: all of them.
      float64: operations with a float64 or a complex128 in them.
      transposed: maps transposed between the images or a convolution and another convolution.
      unordered: the types of what is scattered in any order, as in the gradient of
        ``lax.reduce_window``.
      given_up: the types of the arguments whose memory is reused.
      arguments: the types of all arguments.
      results: the types of all results.
    """

    convolutions: tuple[Convolution, ...]
    float64: tuple[str, ...]
    transposed: tuple[str, ...]
    unordered: tuple[str, ...]
    given_up: tuple[str, ...]
    arguments: tuple[str, ...]
    results: tuple[str, ...]

    def kernels(self, role):
        """How often a kernel of each shape is in a convolution of that role."""
        return collections.Counter(c.kernel for c in self.convolutions if c.role == role)


_TENSOR = re.compile(r"tensor<((?:\d+x)*)([^<>]+)>")
_OPERATION = re.compile(r"\s*(%\w+)(?::\d+)? = \"?(?:[\w]+\.)*(\w+)")
_NAME = re.compile(r"%\w+")


@functools.lru_cache(maxsize=4)  # the programs for two platforms are often the same
def read(text):
    """The program of a module's text."""
    lines = text.splitlines()
    arguments, results = _signature(next(line for line in lines if " public @main(" in line))
    donated = ("tf.aliasing_output", "jax.buffer_donor")
    return Program(
        convolutions=tuple(_convolution(x) for x in lines if "stablehlo.convolution(" in x),
        float64=tuple(x.strip() for x in lines if re.search(r"\bf64\b|xf64|complex<f64>", x)),
        transposed=tuple(_transposed(lines)),
        unordered=tuple(_unordered(lines)),
        given_up=tuple(_type(x) for x in arguments if any(mark in x for mark in donated)),
        arguments=tuple(map(_type, arguments)),
        results=results,
    )


def _unordered(lines):
    for number, line in enumerate(lines):
        scatters = re.search(r"stablehlo\.(select_and_)?scatter\"?\(", line)
        if scatters and "unique_indices = true" not in line:
            end = next(x for x in lines[number:] if x.lstrip().startswith("})"))
            yield _type(end.rpartition(" -> ")[2])


def _type(text):
    return "".join(_TENSOR.search(text).groups())


def _signature(line):
    """What is said of each argument, and the types of the results."""
    arguments, _, results = line.partition(") -> ")
    results = re.sub(r'"(?:[^"\\]|\\.)*"', "", results)
    return re.split(r"%arg\d+: ", arguments)[1:], tuple(
        shape + kind for shape, kind in _TENSOR.findall(results)
    )


def _convolution(line):
    order = re.search(r"dim_numbers = (\[.*?\]x\[.*?\]->\[.*?\])", line)[1]
    role = ORDERS.get(order, order)
    _, second, result = shapes = _TENSOR.findall(line)[-3:]
    return Convolution(
        role=role,
        kernel=_shape((result if role == "kernel" else second)[0]),
        types=tuple(kind for _, kind in shapes),
    )


def _shape(text):
    return tuple(int(side) for side in text.split("x")[:-1])


def _functions(lines):
    """The lines of each function, by its name."""
    found, name = {}, None
    for line in lines:
        if start := re.search(r"func\.func \w+ @([\w.]+)\(", line):
            found[name := start[1]] = []
        if name is not None:
            found[name].append(line)
    return found


def _is_map(shape):
    """Whether a shape is that of maps, or of anything else that has the batch and space."""
    return len(shape) > 2 and EXAMPLES in shape


def _turns_maps(line):
    shape = _shape(_TENSOR.findall(line)[-1][0]) if "stablehlo.transpose" in line else ()
    return len(shape) > 3 and _is_map(shape)


def _transposed(lines):
    """The transpositions of maps that lie on a way from one convolution to another.

    A way leads through maps alone. It ends at the kernels' gradients and at the fully connected
    layers. So the transpositions in the average before those, and in its gradient, are allowed:
    they are of the last map only. The images count as the output of a convolution.
    """
    functions = _functions(lines)
    # A call is one operation. What is in the function is read by itself, too.
    turning = _containing(functions, _turns_maps)
    convolving = _containing(functions, lambda line: "stablehlo.convolution(" in line)
    for body in functions.values():
        after, before, operations = set(), set(), []
        for line in body:
            # Of the function, or of the part of it that pmap maps.
            after.update(name for name, shape in _arguments(line) if _is_map(shape))
            if not (made := _OPERATION.match(line)):
                continue
            result, kind = made.groups()
            maps = any(_is_map(_shape(shape)) for shape, _ in _results(line))
            convolves = kind == "convolution" or _called(line) in convolving
            turns = _turns_maps(line) or _called(line) in turning
            used = [name for name in _NAME.findall(line) if name != result]
            operations.append((line, result, used, maps, convolves, turns))
            if maps and (convolves or any(name in after for name in used)):
                after.add(result)
        for line, result, used, maps, convolves, turns in reversed(operations):
            if turns and result in before and any(name in after for name in used):
                yield line.strip()
            if convolves or (maps and result in before):
                before.update(used)


def _called(line):
    found = re.search(r"call @([\w.]+)\(", line)
    return found and found[1]


def _containing(functions, does):
    """The names of the functions with such a line, or that call one of them."""
    found, before = set(), None
    while found != before:
        before = set(found)
        found = {
            name
            for name, body in functions.items()
            if any(does(line) or _called(line) in before for line in body)
        }
    return found


def _arguments(line):
    return [(n, _shape(s)) for n, s in re.findall(r"(%arg\d+): tensor<((?:\d+x)*)[^<>]+>", line)]


def _results(line):
    *_, results = line.rpartition(" -> ") if " -> " in line else line.rpartition(" : ")
    return _TENSOR.findall(results)


def layers(params, *, train):
    """How often a convolution has a kernel of each shape, by a network's parameters."""
    found = collections.Counter()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        names = [key.key for key in path]
        auxiliary = any(name.startswith("aux_") for name in names)
        if names[-1] == "kernel" and len(leaf.shape) > 2 and (train or not auxiliary):
            # LeNet-5's C3 keeps the connections that it has, and convolves by a whole kernel.
            partial = len(leaf.shape) == 3
            found[(5, 5, 6, len(C3_TABLE)) if partial else leaf.shape] += 1
    return found


@dataclasses.dataclass(frozen=True)
class Form:
    """How a step is made: one of ``FORMS``."""

    train: bool = True
    pmap: bool = False
    remat: bool = False
    dtype: str = "bfloat16"


FORMS = {
    "train": Form(),
    "train-float32": Form(dtype="float32"),
    "train-pmap": Form(pmap=True),
    "train-remat": Form(remat=True),
    "train-remat-pmap": Form(remat=True, pmap=True),
    "evaluate": Form(train=False),
    "evaluate-float32": Form(train=False, dtype="float32"),
    "evaluate-pmap": Form(train=False, pmap=True),
}


def side(name):
    """Small images that the network takes."""
    return 67 if name.startswith(("alexnet", "zfnet")) else 64 if "googlenet" in name else 32


@dataclasses.dataclass(frozen=True)
class Step:
    """A step as it is lowered.

    Attributes:
      programs: by platform.
      carried: what the step takes and gives: the training state, or an evaluation's sums.
      layers: the kernels of the convolutions that it should have.
      others: how many results there are besides.
    """

    programs: dict[str, Program]
    carried: tuple[str, ...]
    layers: collections.Counter
    others: int


@functools.cache
def lowered(name, form_name):
    """A registered network's step, its convolutions chosen as on an accelerator."""
    form = FORMS[form_name]
    model = create_model(name, num_classes=CLASSES, dtype=jnp.dtype(form.dtype))
    return lower(model, side(name), form)


def lower(model, size, form, *, convolution="auto", donate=True):
    """The step of a network that takes images of that size.

    Args:
      model: the network, as the configuration makes it.
      size: pixels.
      form: of the step.
      convolution: as in ``ModelConfig``.
      donate: give up what the step carries, as a run does.
    """
    layout = PmapLayout(_devices(2)) if form.pmap else JitLayout(_devices(1), plainly=True)
    number = 0 if form.train else 1
    given_up = (number,) if donate else ()
    programs, traced = {}, {}
    for platform, kind in PLATFORMS.items():
        # All that the choice of the convolutions depends on.
        there = dataclasses.replace(layout, devices=(types.SimpleNamespace(platform=kind),))
        made = on_devices(model, there, convolution)
        if made not in traced:
            step, arguments, first = _step(made, size, form, layout)
            compiled = layout.compile(step, donate=given_up)
            if not hasattr(compiled, "trace"):  # pmap's own has no other platform to lower for
                compiled = jax.jit(compiled, donate_argnums=given_up)
            traced[made] = compiled.trace(*arguments)
        text = traced[made].lower(lowering_platforms=(platform,)).as_text()
        programs[platform] = read(text)
    return Step(
        programs=programs,
        carried=tuple(map(_written, jax.tree.leaves(arguments[number]))),
        layers=layers(first.params, train=form.train),
        others=3 if form.train else 0,
    )


def _devices(count):
    return tuple(jax.devices()[:count])


def _written(x):
    """The type of an array as StableHLO writes it."""
    kind = {"float32": "f32", "bfloat16": "bf16", "int32": "i32", "bool": "i1"}[x.dtype.name]
    return "x".join([*map(str, x.shape), kind])


def _step(model, size, form, layout):
    """A step, the shapes of its arguments, and those of the first state on one device."""
    config = OptimizerConfig(name="momentum", weight_decay=5e-4, ema=0.9)
    optimizer = make_optimizer(config)
    create = functools.partial(
        create_state,
        model.clone(axis_name=None),
        optimizer,
        jnp.zeros((1, size, size, 3)),
        seed=0,
        averaged=True,
    )
    first = jax.eval_shape(create)
    state, batch = layout.shapes(first, batch_shapes(EXAMPLES * layout.batch_parts, size))
    axis = {"axis_name": layout.axis_name}
    if not form.train:
        sums, _ = layout.shapes(jax.eval_shape(lambda: ClassSums.zeros(CLASSES)), {})
        return make_eval_step(model, NORMALISE, **axis), (state.variables(), sums, batch), first
    step = make_train_step(
        model,
        optimizer,
        lambda step: 0.1 / (1.0 + step),
        lambda batch, step: (NORMALISE(batch["image"]), batch["label"]),
        seed=0,
        steps_per_epoch=100,
        log_every=10,
        average=averaging(config, 100),
        remat=form.remat,
        **axis,
    )
    return step, (state, batch), first
