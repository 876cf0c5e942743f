"""The commands by name, each imported when it is asked for, and what chooses one."""

import argparse
import importlib
from collections.abc import Sequence

from jaxcnn.cli.completion import complete
from jaxcnn.cli.output import Output
from jaxcnn.cli.parser import Parser
from jaxcnn.errors import unknown_name
from jaxcnn.version import __version__

# A module of this package each, with a docstring, `add_arguments(parser)` and
# `run(arguments, output) -> exit status`; and what it does, in a few words.
COMMANDS = {
    "list": ("jaxcnn.cli.listing", "the networks that there are"),
    "summary": ("jaxcnn.cli.summary", "a network layer by layer, and what it costs"),
    "complexity": ("jaxcnn.cli.complexity", "accuracy against multiply-adds, and errors by year"),
    "predict": ("jaxcnn.cli.predict", "the most probable classes of images"),
    "export": ("jaxcnn.cli.export", "a file of StableHLO or ONNX, which runs without jaxcnn"),
    "share": ("jaxcnn.cli.share", "a folder of weights, as the Hugging Face hub has them"),
    "inside": ("jaxcnn.cli.inside", "all that goes on in a network that is shown an image"),
    "filters": ("jaxcnn.cli.filters", "a picture of a convolution's filters"),
    "convolution": ("jaxcnn.cli.convolution", "what kernel, stride and padding make of an image"),
    "maps": ("jaxcnn.cli.maps", "a layer's feature maps, by channel"),
    "deconvnet": ("jaxcnn.cli.deconvnet", "what excites channels, projected back to pixels"),
    "strongest": ("jaxcnn.cli.strongest", "what excites channels most in many images"),
    "occlusion": ("jaxcnn.cli.occlusion", "the answer as parts of the image are hidden"),
    "saliency": ("jaxcnn.cli.saliency", "the pixels that an answer depends on"),
    "gradcam": ("jaxcnn.cli.gradcam", "where a layer has evidence for an answer"),
    "classmap": ("jaxcnn.cli.classmap", "the answers all over a larger image"),
}


def main(words: Sequence[str], output: Output) -> int:
    """Runs the command that the words after the program ask for; returns its exit status.

    Raises:
      UserError: there is no such command, or it cannot do what is asked for.
      SystemExit: with status 0, after ``--help`` of a command.
    """
    complete(_every_command)
    name, rest = (words[0], words[1:]) if words else ("--help", ())
    if name in ("-h", "--help"):
        print(overview())
        return 0
    if name == "--version":
        print(f"jaxcnn {__version__}")
        return 0
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    command = importlib.import_module(COMMANDS[name][0])
    return command.run(parser_of(name).read(rest), output)


def parser_of(name: str) -> Parser:
    """The parser of a command, a key of ``COMMANDS``."""
    command = importlib.import_module(COMMANDS[name][0])
    parser = Parser(f"python -m jaxcnn {name}", command.__doc__ or "")
    command.add_arguments(parser)
    return parser


def _every_command() -> argparse.ArgumentParser:
    """All commands as one parser, for shells; every one is imported for it."""
    parser = argparse.ArgumentParser(prog="python -m jaxcnn")
    commands = parser.add_subparsers()
    for name in COMMANDS:
        commands.add_parser(name, parents=[parser_of(name)], add_help=False)
    return parser


def overview() -> str:
    """What ``--help`` without a command prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: python -m jaxcnn COMMAND [ARGUMENTS]",
            "",
            *lines,
            "",
            "python -m jaxcnn COMMAND --help says what a command takes.",
        ]
    )
