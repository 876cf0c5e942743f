"""What the commands `python -m jaxcnn` have in common: how they are chosen, asked and answer."""

import argparse
import json
import subprocess
import sys

import pytest

from jaxcnn import list_models
from jaxcnn.cli.commands import COMMANDS, main, overview, parser_of
from jaxcnn.cli.exit_status import run_main
from jaxcnn.cli.looking import channel_numbers
from jaxcnn.cli.parser import Parser
from jaxcnn.errors import UserError
from jaxcnn.progress import Progress


def run(*words):
    return run_main(main, "jaxcnn", list(words))


def test_without_a_command_it_says_which_there_are(capsys):
    for words in ([], ["--help"]):
        assert run(*words) == 0
        assert capsys.readouterr().out == f"{overview()}\n"
    assert all(f"  {name} " in overview() for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    parser = parser_of(name)
    assert f"python -m jaxcnn {name}" in parser.format_help()
    for action in parser._actions:
        assert action.help, f"{name}: {action.dest} has no help"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["lsit"], "there is no command 'lsit'; did you mean 'list'?"),
        (["list", "--jsno"], "there is no option '--jsno'; did you mean '--json'?"),
        (["list", "a", "b"], "'b' is out of place; python -m jaxcnn list --help says what is not."),
        (["list", "vgg17*"], "no network's name matches 'vgg17*'; list shows all names."),
    ],
)
def test_a_mistake_is_one_sentence(words, sentence, capsys):
    assert run(*words) == 2
    assert capsys.readouterr() == ("", f"jaxcnn: {sentence}\n")


def test_list_prints_names_and_json(capsys):
    assert run("list", "vgg1?_bn") == 0
    assert capsys.readouterr().out.split() == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    assert run("list", "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["name"] for record in records] == list_models()
    assert records[0] == {"name": "alexnet", "images": [224, 224, 3]}


def test_the_long_list_counts(capsys):
    assert run("list", "lenet5*", "--long") == 0
    assert capsys.readouterr().out.splitlines() == [
        "network      images       classes  parameters  multiply-adds",
        "------------------------------------------------------------",
        "lenet5       32 x 32 x 1       10      61,706        416,520",
        "lenet5_1998  32 x 32 x 1       10      60,000        325,680",
    ]
    assert run("list", "vgg_small", "--long", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "vgg_small",
        "images": [224, 224, 3],
        "classes": 2,
        "parameters": 1_550_146,
        # Five groups of convolutions and the linear layers.
        "multiply_adds": 137_281_536 + 173_408_256 + 2 * 289_013_760 + 86_704_128 + 629_240,
    }


@pytest.mark.parametrize(
    ("option", "out", "err"),
    [
        ([], "a line\nthe result\n", "a remark\nepoch 1\na warning\n"),
        (["--json"], '{"a": 1}\n{"a": 2}\n', "a line\na remark\nepoch 1\na warning\n"),
        (["--quiet"], "the result\n", "a warning\n"),
        (["--json", "--quiet"], '{"a": 1}\n{"a": 2}\n', "a warning\n"),
    ],
)
def test_who_hears_what(option, out, err, capsys):
    def command(words, output):
        print("a line")
        output.note("a remark")
        with Progress(total=2, description="working", every=0) as bar:
            bar.note("epoch 1")
            bar.warn("a warning")
        output.result([{"a": 1}, {"a": 2}], "the result")
        assert words == ["word"]
        return 0

    assert run_main(command, "jaxcnn", [*option, "word"]) == 0
    assert capsys.readouterr() == (out, err)


def test_channels_are_each_taken_once():
    assert channel_numbers("3,0-3,7") == (3, 0, 1, 2, 7)
    with pytest.raises(argparse.ArgumentTypeError, match="no list of channels"):
        channel_numbers("7-3")


def test_what_a_terminal_would_obey_is_written_out(capsys):
    def command(words, output):
        output.note("a \x07 bell")
        output.result({"name": "\x1b"}, "the first \x1b[31m\nthe second \udcff")
        return 0

    assert run_main(command, "jaxcnn", []) == 0
    told = "the first \\x1b[31m\nthe second \\udcff\n", "a \\x07 bell\n"
    assert capsys.readouterr() == told


def test_options_are_spelt_with_dashes_or_underscores():
    parser = Parser("prog", "Does something.")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--batch_size", type=int)
    for words in (["--image-size=2", "--batch-size=3"], ["--image_size", "2", "--batch_size=3"]):
        values = parser.read(words)
        assert (values.image_size, values.batch_size) == (2, 3)
    with pytest.raises(UserError, match=r"^--image-size: invalid int value: 'x'; prog --help"):
        parser.read(["--image_size=x"])


def test_no_word_is_coloured(monkeypatch, capsys):
    """There is nothing that NO_COLOR would have to turn off: no escape code is ever written."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    for words in (["--help"], ["list"], ["list", "--jsno"]):
        run(*words)
    with pytest.raises(SystemExit):
        run("list", "--help")
    assert "\x1b" not in "".join(capsys.readouterr())


def test_it_is_a_program():
    ended = subprocess.run(
        [sys.executable, "-m", "jaxcnn", "list", "lenet5"], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "lenet5\n", "")
