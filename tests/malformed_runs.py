"""What runs are made from and leave, in small, damaged and read: see ``malformed``."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
from mutations import mutated, mutated_json, mutated_words

from jaxcnn.errors import UserError

ROOT = Path(__file__).parents[1]


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
    from experiments import results
    from experiments.commandline import to_dict
    from experiments.images import STATISTICS, statistics_of
    from experiments.members import run_config
    from experiments.outcomes import read_outcome
    from experiments.ownership import Ownership
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
    workdir = Workdir(folder, config, data, Ownership())

    def trial(draw):
        path = draw.choice(sorted(files))
        damage = mutated if path.suffix == ".jsonl" else mutated_json
        path.write_bytes(damage(files[path], draw))
        reading = [
            lambda: results.text(workdir.inspect(state_bytes=1) or result, folder),
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

    from jaxcnn.training.checkpoint_reading import (
        best_checkpoint,
        meta_of,
        read_variables,
        variables_of,
    )
    from jaxcnn.training.checkpoints import Checkpoints
    from jaxcnn.training.manifest import damage

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
