# PYTHON_ARGCOMPLETE_OK
"""Draws the copies that a recipe's training makes of an image, each as one of its steps sees it.

    python -m experiments.augmented vgg_imagenet --config=d_jittered --image=photo.jpg
    python -m experiments.augmented googlenet_imagenet --image=photo.jpg --copies=24
    python -m experiments.augmented vgg_cifar10 --config=digits

It takes a recipe and its options, and `--image=FILE` (or `digits:N`, a test image of the embedded
digits), `--copies=N` and `--output=FILE.png`. The crops, colours and random numbers are those of
training itself, at steps 0, 1, 2, ... for the image's number in the data, here 0. Colours are
shifted along ImageNet's principal components, as published. Mixing with other images is left out.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.any_recipe import asked_for
from experiments.config import Experiment
from experiments.images import augment_by
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.images import images_of_words
from jaxcnn.cli.output import Output
from jaxcnn.data.crops import train_view
from jaxcnn.data.statistics import IMAGENET_STATISTICS
from jaxcnn.errors import UserError
from jaxcnn.inspection.augmented import draw_augmented
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.randomness import Purpose, host_generator

_OWN: Mapping[str, str] = {"image": "digits:0", "copies": "12", "output": "augmented.png"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs from the command line and returns the exit status."""
    return run_main(_command, "augmented", sys.argv[1:] if argv is None else argv)


def _command(arguments: Sequence[str], output: Output) -> int:
    own, rest = dict(_OWN), []
    for word in arguments:
        option, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and equals and option in own:
            own[option] = value
        else:
            rest.append(word)
    asked = asked_for(
        "augmented",
        rest,
        description=str(__doc__),
        own=" ".join(f"[--{option}={value}]" for option, value in _OWN.items()),
    )
    if asked is None:
        return 0
    config, path = asked.config, Path(own["output"])
    config.augment.check()
    config.augment.check_crop(config.data.image_size, config.data.padding)
    if not own["copies"].isdecimal() or int(own["copies"]) < 1:
        raise UserError(f"--copies={own['copies']} must be a number of 1 or more.")
    if path.suffix.lower() != ".png":
        raise UserError(f"--output={path} must end in .png: pictures are PNG files.")
    name, image = next(images_of_words([own["image"]], config.data.channels or 3))
    copies = augmented_copies(image, config, int(own["copies"]))
    draw_augmented(
        image,
        copies,
        path,
        title=f"{asked.recipe} {asked.preset}: what training sees of {Path(name).name}",
        how=described(config),
    )
    output.result(
        {"file": str(path), "image": name, "copies": len(copies)},
        f"Written to {path}: {len(copies)} copies of {name}.",
    )
    return 0


def augmented_copies(image: np.ndarray, config: Experiment, count: int) -> np.ndarray:
    """The image as training sees it at the first steps, but for the normalisation.

    Args:
      image: uint8, ``(height, width, channels)``.
      config: of the recipe.
      count: of the steps.

    Returns:
      uint8, ``(count, size, size, channels)``; colours beyond 0 to 255 are cut off.
    """
    data, channels = config.data, image.shape[2]
    config = dataclasses.replace(
        config, augment=dataclasses.replace(config.augment, mixup=0.0, cutmix=0.0)
    )
    as_it_is = Preprocessing((0.0,) * channels, (1.0,) * channels)
    augment = augment_by(
        as_it_is,
        config,
        IMAGENET_STATISTICS if channels == 3 else None,
        num_classes=1,
        axis_name=None,
    )
    zero = jnp.zeros(1, jnp.int32)
    copies = []
    for step in range(count):
        generator = host_generator(config.seed, Purpose.CROP, step, 0)
        view = train_view(config.augment, data.image_size, generator, padding=data.padding)
        batch = {"image": jnp.asarray(view.apply(image))[None], "label": zero, "index": zero}
        images, _ = augment(batch, jnp.asarray(step))
        copies.append(np.asarray(jax.numpy.clip(jnp.round(images[0]), 0, 255)).astype(np.uint8))
    return np.stack(copies)


def described(config: Experiment) -> str:
    """What a configuration does to an image, in a sentence or two."""
    augment, size = config.augment, config.data.image_size
    low, high = augment.scales(size, config.data.padding)
    if augment.crop == "area":
        how = [
            f"a random part of {augment.area_min:.0%} to 100% of the area, at most "
            f"{augment.aspect_max:.3g} times as wide as high or as high as wide"
        ]
    else:
        scale = str(low) if low == high else f"{low} to {high}"
        square = ", its central square alone" if augment.central_square else ""
        padded = f", {augment.pad} zeros on every side" if augment.pad else ""
        place = {"random": "at random", "center": "at the centre"}.get(
            augment.crop, "at a corner or the centre"
        )
        how = [f"shorter side {scale}{square}{padded}, cropped {place} to {size} x {size}"]
    if augment.flip:
        how.append("mirrored or not")
    if augment.color_shift:
        how.append(f"colour shifted by {augment.color_shift:g} of the principal components")
    if augment.photometric:
        how.append(f"brightness, contrast and saturation changed by up to {augment.photometric:g}")
    return f"Each copy: {', '.join(how)}; below it the step. Values are shown, not normalised."


if __name__ == "__main__":
    sys.exit(main())
