# PYTHON_ARGCOMPLETE_OK
"""What normalisation needs to know of a data set: ``python -m experiments.statistics``.

    python -m experiments.statistics --source=digits
    python -m experiments.statistics --source=imagenet2012 --image_size=224 --scale=256

It reads every image of a split once and prints, for each channel, the mean, the standard deviation
of all pixels (pooled) and the mean of the images' own, and the principal components of the channels
together; exactly, from integer sums. Every image counts as a run sees it in evaluation: rescaled,
its centre cropped. --output keeps the numbers in the form of a run's statistics.json.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import Parser
from jaxcnn.data.crops import AugmentConfig
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.decode import decode
from jaxcnn.data.sources import Source, open_source
from jaxcnn.data.statistics import Statistics, compute_statistics
from jaxcnn.errors import UserError
from jaxcnn.files import write_atomically, writing


def text(statistics: Statistics, *, name: str, image_size: int, scale: int) -> str:
    """The numbers as a person reads them, in grey levels of 0 to 255 and as parts of 255."""
    names = ("grey",) if len(statistics.mean) == 1 else ("red", "green", "blue")
    rows = {
        "mean": statistics.mean,
        "std, all pixels": statistics.std,
        "std, mean of the images'": statistics.image_std,
    }
    lines = [
        f"{name}: {statistics.images:,} image{'s' * (statistics.images > 1)}, rescaled to a "
        f"shorter side of {scale}, the centre of {image_size} x {image_size}",
        f"{'grey levels of 0 to 255 (of 0 to 1)':<38}" + "".join(f"{n:>20}" for n in names),
    ]
    lines += [
        f"  {label:<36}" + "".join(f"{value:>11.4f} ({value / 255:.4f})" for value in values)
        for label, values in rows.items()
    ]
    components = zip(
        statistics.eigenvalues, zip(*statistics.eigenvectors, strict=True), strict=True
    )
    for number, (variance, vector) in enumerate(components, start=1):
        label = f"component {number}: variance {variance:.3f} ({variance / 255**2:.5f})"
        lines.append(f"  {label:<36}" + "".join(f"{entry:>20.5f}" for entry in vector))
    return "\n".join(lines)


def native_size(source: Source, channels: int | None) -> int:
    """The shorter side of a source's first image, in pixels."""
    data, _, name = source[0]
    return min(decode(data, channels or source.channels, name=name).shape[:2])


def main(argv: Sequence[str], output: Output) -> int:
    """Computes, prints and keeps what the command line asks for; returns the exit status."""
    parser = Parser("python -m experiments.statistics", __doc__)
    parser.add_argument("--source", default="digits", help="as data.source")
    parser.add_argument("--data_dir", help="where TFDS keeps its data sets")
    parser.add_argument("--split", default="train", help="of the source")
    parser.add_argument(
        "--image_size", type=int, help="pixels (default: the first image's shorter side)"
    )
    parser.add_argument("--scale", type=int, help="shorter side, pixels (default: --image_size)")
    parser.add_argument(
        "--channels", type=int, choices=(1, 3), help="grey or colour (default: what the source has)"
    )
    parser.add_argument("--mean_image", action="store_true", help="also the mean of each pixel")
    parser.add_argument(
        "--on_error",
        choices=("stop", "skip"),
        default="stop",
        help="what to do about an image that cannot be read",
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that read")
    parser.add_argument("--threads", type=int, default=8, help="that read")
    parser.add_argument("--output", type=Path, help="also write the numbers as JSON here")
    options = parser.read(argv)
    for option in ("image_size", "scale"):
        if (value := getattr(options, option)) is not None and value < 1:
            raise UserError(f"--{option}={value} must be 1 or more.")
    source = open_source(options.source, options.split, data_dir=options.data_dir)
    if not len(source):
        raise UserError(f"--split={options.split} of {options.source} is empty; give another.")
    size = options.image_size or options.scale or native_size(source, options.channels)
    if options.scale is not None and options.scale < size:
        raise UserError(
            f"--scale={options.scale} is too small to crop --image_size={size} from; make it as "
            "large, or the image size smaller."
        )
    if options.output is not None:  # not after an hour of reading
        with writing(options.output):
            options.output.parent.mkdir(parents=True, exist_ok=True)
    statistics = compute_statistics(
        source,
        config=DataConfig(
            source=options.source,
            image_size=size,
            channels=options.channels,
            on_error=options.on_error,
            workers=options.workers,
            threads=options.threads,
        ),
        augment=AugmentConfig(eval_scale=options.scale),
        mean_image=options.mean_image,
    )
    name = f"{options.source} {options.split}"
    words = text(statistics, name=name, image_size=size, scale=options.scale or size)
    output.result(statistics.to_json(), words)
    if options.output is not None:
        write_atomically(options.output, json.dumps(statistics.to_json(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main, "statistics"))
