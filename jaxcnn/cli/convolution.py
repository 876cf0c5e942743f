"""Draws what one convolution makes of an image, by kernels, strides and paddings of several sizes.

python -m jaxcnn convolution
python -m jaxcnn convolution photo.jpg --size=56 --kernels=3,7,11
"""

import argparse
from pathlib import Path

from jaxcnn.cli.images import images_of_words
from jaxcnn.cli.looking import IMAGE, picture_path
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import seed
from jaxcnn.data.views import View
from jaxcnn.errors import UserError
from jaxcnn.inspection.convolution import SETTINGS, Setting, draw_convolutions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    parser.add_argument("image", nargs="?", default="digits:0", help=IMAGE)
    parser.add_argument("--size", type=int, default=28, metavar="PIXELS", help="of the image")
    for name, row in SETTINGS.items():
        numbers = ",".join(str(getattr(setting, name)) for setting in row)
        parser.add_argument(
            f"--{name}s", type=_numbers, metavar="N,N", help=f"to compare (default: {numbers})"
        )
    parser.add_argument("--channels", type=int, default=4, metavar="N", help="of the output")
    parser.add_argument("--seed", type=seed, default=0, help="of the filters")
    parser.add_argument(
        "--output", metavar="FILE.png", default="convolution.png", help="the picture"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Draws them; returns the exit status.

    Raises:
      UserError: a window does not fit the image, there is no image, or the file cannot be written.
    """
    path = picture_path(arguments)
    if arguments.size < 1 or arguments.channels < 1:
        raise UserError("--size and --channels must be 1 or more.")
    settings = {}
    for name, row in SETTINGS.items():
        given = getattr(arguments, f"{name}s")
        settings[name] = row if given is None else tuple(Setting(**{name: n}) for n in given)
        for setting in settings[name]:
            setting.check(arguments.size)
    name, pixels = next(images_of_words([arguments.image], 1))
    image = View(arguments.size, arguments.size).apply(pixels)
    draw_convolutions(
        image,
        path,
        name=Path(name).name,
        settings=settings,
        channels=arguments.channels,
        seed=arguments.seed,
    )
    rows = {name: [s.rows(arguments.size) for s in row] for name, row in settings.items()}
    lines = [
        f"{name} {', '.join(str(getattr(s, name)) for s in row)}: "
        f"{', '.join(map(str, rows[name]))} rows of {arguments.size}"
        for name, row in settings.items()
    ]
    output.result({"file": str(path), "rows": rows}, "\n".join([*lines, f"Written to {path}."]))
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of numbers such as 1,3,5") from error
