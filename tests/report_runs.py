"""Runs that never were, for pages about them."""

import numpy as np

from jaxcnn.inspection.report import Answered, Figure, Filters, Mistake, Run, Setting


def photograph(random, side):
    """Something smooth, which a JPEG holds as it does photographs, with some noise."""
    waves = random.normal(size=(3, 3))
    at = np.stack(np.meshgrid(*[np.linspace(0, 6, side)] * 2), axis=-1)
    smooth = 128 + 60 * np.sin(at @ waves[:2] + waves[2])
    return np.clip(smooth + random.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8)


def metrics(random, epochs, steps, *, rate=0.1, start=2.3):
    """Lines as a training writes them, with a loss that falls and one step that is no number."""
    lines = []
    for step in range(1, epochs * steps + 1):
        epoch = step / steps
        loss = start * np.exp(-3 * epoch / epochs)
        noisy = {"loss": loss * random.uniform(0.8, 1.2), "accuracy": 1 - loss / start}
        if step == steps + 1:
            noisy["loss"] = float("nan")
        learning_rate = rate * 0.1 ** int(3 * (step - 1) / (epochs * steps))
        lines.append({"kind": "train", "step": step, "epoch": epoch} | noisy)
        lines[-1]["learning_rate"] = learning_rate
        if step % steps == 0:
            of_epoch = {"step": step, "epoch": epoch, "accuracy": 1 - loss / start}
            lines.append({"kind": "epoch", "loss": loss, **of_epoch})
            of_epoch["accuracy"] = 1 - 0.8 * loss / start
            top5 = 1 - 0.3 * loss / start
            lines.append({"kind": "eval", "loss": 0.9 * loss, "top5": top5, **of_epoch})
    return lines


def run(
    name="digits",
    *,
    class_names=tuple("0123456789"),
    images=360,
    mistakes=24,
    side=32,
    kernels=(16, 3, 1),
    epochs=30,
    steps=22,
    seed=0,
    **fields,
):
    """A run, finished and with all there is to show.

    Args:
      name: of the run, and the end of its folder.
      class_names: by label.
      images: that the network was asked about.
      mistakes: that are shown.
      side: of the images, in pixels; small ones are grey.
      kernels: how many filters, how large, in how many groups.
      epochs: trained.
      steps: of an epoch.
      seed: of all that is drawn.
      **fields: of `Run`, in place of those.
    """
    random = np.random.default_rng(seed)
    classes = len(class_names)
    matrix = np.zeros((classes, classes), np.int64)
    labels = random.integers(0, classes, images)
    wrong = random.random(images) < 0.15
    near = np.clip(labels + random.integers(-3, 4, images), 0, classes - 1)
    np.add.at(matrix, (labels, np.where(wrong, near, labels)), 1)
    right = int(matrix.trace())
    shown = tuple(
        Mistake(
            image=photograph(random, side) if side > 64 else photograph(random, side)[..., :1],
            name=f"{name} test example {number}",
            label=class_names[number % classes],
            answer=class_names[(number + 1) % classes],
            probability=0.99 - 0.02 * number,
        )
        for number in range(mistakes)
    )
    count, window, groups = kernels
    made = {
        "name": name,
        "workdir": f"runs/vgg_imagenet/{name}",
        "network": "vgg11",
        "source": "digits",
        "state": "finished",
        "about": f"Finished, on cpu (1 device, 1 process), and measured on the {images:,} images "
        "of digits test.",
        "metrics": metrics(random, epochs, steps),
        "verdict": {
            "Top-1 accuracy": Figure(f"{right / images:.2%}"),
            "Top-5 accuracy": Figure("99.72%"),
            "Loss": Figure("0.1234"),
            "Best evaluation": Figure(f"{right / images:.2%}", f"after epoch {epochs}"),
            "Epochs": Figure(str(epochs), f"{epochs * steps:,} steps"),
            "Time": Figure("44 s", "over 2 starts"),
        },
        "goodput": {
            "useful steps": 31.2,
            "start-up": 5.1,
            "compilation": 2.8,
            "waiting for data": 0.4,
            "evaluation": 4.6,
            "saving": 1.7,
            "steps done again": 0.0,
        },
        "starts": 2,
        "environment": {"hardware": "cpu (1 device, 1 process)", "jaxcnn": "0.1.0", "jax": "0.10"},
        "answered": Answered(
            about=f"vgg11 after step {epochs * steps:,}, the best state that the run has kept, "
            f"gives {right:,} of {images:,} images of digits test their class.",
            class_names=tuple(class_names),
            matrix=matrix,
            mistakes=shown,
        ),
        "filters": Filters(
            "conv1_1", random.integers(0, 256, (count, window, window, 3), np.uint8), groups
        ),
    }
    return Run(**made | fields)


def settings(runs=1):
    """Configurations of so many runs, which differ in two fields; that of one from its preset."""
    rates = tuple(f"0.{number + 1}" for number in range(runs))
    seeds = tuple(map(str, range(runs)))
    return [
        Setting("model.name", "one of the registered names", ("vgg11",) * runs),
        Setting("model.hidden", "widths of the hidden layers", ("128,128",) * runs),
        Setting("optimizer.learning_rate", "the highest", rates, "0.01" if runs == 1 else None),
        Setting("optimizer.weight_decay", "of the parameters", ("0.0005",) * runs),
        Setting("seed", "of all random numbers", seeds, "7" if runs == 1 else None),
    ]
