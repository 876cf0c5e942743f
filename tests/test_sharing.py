"""Folders to share: whole or not there, taken back to the bit, from here and from a hub."""

import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
import yaml
from hub_server import hub
from networks import initialized
from PIL import Image

from experiments import share, vgg_imagenet
from experiments.commandline import undocumented
from experiments.members import of_run, run_config
from experiments.run import main as run_recipe
from jaxcnn import load_pretrained, models
from jaxcnn.cli.commands import main
from jaxcnn.cli.exit_status import run_main
from jaxcnn.errors import UserError
from jaxcnn.mean_image import MeanImage
from jaxcnn.preprocessing import Preprocessing
from jaxcnn.pretrained import hub as hub_module
from jaxcnn.pretrained import save_folder, save_weights
from jaxcnn.pretrained.model_card import Measured

pytestmark = pytest.mark.usefixtures("compile_quickly")
CLASSES = ("cat", "dog", "emu", "fox", "gnu", "hen")
PREPARE = Preprocessing(
    (100.0, 115.0, 120.0), (60.0, 61.0, 62.0), "BGR", shorter_side=14, crop=12, padding=1
)
MODEL = models.VGG(
    groups=((64, (3,)), (128, (3,))), num_classes=6, width=4, hidden=(8,), pooled_size=3
)
VARIABLES = initialized(MODEL, (1, 12, 12, 3))
MEASURED = [Measured("top-1 accuracy", 0.75, "pets test", "centre | crop")]


def shared(path, **changes):
    known = {"preprocessing": PREPARE, "class_names": CLASSES, **changes}
    save_folder(path, MODEL, VARIABLES, **known)
    return path


@pytest.fixture
def folder(tmp_path):
    return shared(tmp_path / "pets", license_name="cc-by-4.0", measured=MEASURED)


def assert_same(loaded, variables=VARIABLES):
    flat, others = (jax.tree_util.tree_leaves_with_path(v) for v in (loaded.variables, variables))
    assert [path for path, _ in flat] == [path for path, _ in others]
    for (path, array), (_, other) in zip(flat, others, strict=True):
        np.testing.assert_array_equal(array, other, err_msg=str(path))


def refusal(function, *arguments, **keywords):
    with pytest.raises(UserError) as error:
        function(*arguments, **keywords)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_comes_back_to_the_bit(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(hub_module.FILES)
    assert [path.name for path in folder.parent.iterdir()] == ["pets"]
    for source in (folder, folder / "model.safetensors"):
        loaded = load_pretrained("vgg11", source)
        assert (loaded.model, loaded.preprocessing) == (MODEL, PREPARE)
        assert (loaded.class_names, loaded.notes) == (CLASSES, ())
        assert_same(loaded)
    assert load_pretrained("vgg11", folder, num_classes=3).class_names is None
    assert "holds weights of 'vgg11', not of 'alexnet'" in refusal(
        load_pretrained, "alexnet", folder
    )


def test_a_network_of_torchvision_and_a_mean_image_come_back_too(tmp_path):
    model = models.create_model("vgg11_bn", width=4, hidden=(4, 4), num_classes=6)
    variables = initialized(model)
    mean = MeanImage.of(np.random.default_rng(0).random((12, 12, 3), np.float32))
    prepare = Preprocessing((1.0, 2.0, 3.0), (1.0, 1.0, 1.0), crop=12, mean_image=mean)
    save_folder(tmp_path / "w", model, variables, preprocessing=prepare)
    loaded = load_pretrained("vgg11_bn", tmp_path / "w")
    assert json.loads((tmp_path / "w" / "config.json").read_text())["names"] == "torchvision"
    assert (loaded.preprocessing, loaded.class_names) == (prepare, None)
    assert_same(loaded, variables)


def test_the_configuration_is_what_counts(folder):
    """People mend a name on the hub; what the file's own header says is then out of date."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    assert config["model"] == "vgg11"
    assert config["format_version"] == "1"
    config["class_names"][0] = "puma"
    path.write_text(json.dumps(config))
    assert load_pretrained("vgg11", folder).class_names == ("puma", *CLASSES[1:])


def test_a_folder_of_others_holds_a_file_of_others(tmp_path):
    """As timm's on the hub, whose configuration is its own."""
    (tmp_path / "w").mkdir()
    save_weights(tmp_path / "w" / "model.safetensors", MODEL, VARIABLES, class_names=CLASSES)
    for config in (None, {"architecture": "vgg11"}):
        if config is not None:
            (tmp_path / "w" / "config.json").write_text(json.dumps(config))
        assert_same(load_pretrained("vgg11", tmp_path / "w"))


def front_and_body(folder):
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_card_says_what_the_hub_wants_to_know(folder, tmp_path):
    front, body = front_and_body(folder)
    (index,) = front.pop("model-index")
    assert front == {
        "library_name": "jaxcnn",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "jax", "flax", "vgg11"],
        "license": "cc-by-4.0",
    }
    (result,) = index["results"]
    assert index["name"] == "pets"
    assert result["metrics"] == [{"type": "accuracy", "name": "top-1 accuracy", "value": 0.75}]
    assert result["dataset"] == {"type": "pets", "name": "pets test"}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(VARIABLES["params"]))
    assert f"`vgg11`, {parameters:,} parameters, 6 classes; with other fields than usual" in body
    assert "6: cat, dog, emu, fox, gnu, hen." in body
    assert (
        "3 channels, BGR: rescaled to a shorter side of 14 pixels, 1 pixels of zeros put around "
        "them, the central 12 x 12 cropped, the mean (100, 115, 120) subtracted, and divided by "
        "(60, 61, 62), in grey levels of 0 to 255."
    ) in body
    assert "| top-1 accuracy | 75.00% | pets test | centre \\| crop |" in body
    front, body = front_and_body(shared(tmp_path / "plain", about="Mine."))
    assert "license" not in front
    assert "model-index" not in front
    assert "Mine." in body
    assert "## Results" not in body


def test_what_the_card_tells_to_do_works(folder, capsys):
    _, body = front_and_body(folder)
    code = re.search(r"```python\n(.*?)```", body, re.DOTALL)[1]
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), np.uint8)
    scope = {"images": images}
    exec(code.replace("FOLDER", str(folder)), scope)
    expected = MODEL.apply(VARIABLES, PREPARE(images))
    np.testing.assert_allclose(scope["logits"], expected, rtol=1e-5, atol=1e-5)
    Image.fromarray(np.tile(images[0], (2, 2, 1))).save(folder.parent / "photo.png")
    (command,) = re.findall(r"python -m jaxcnn (.*)", body)
    words = command.replace("FOLDER", str(folder)).replace(
        "photo.jpg", str(folder.parent / "photo.png")
    )
    assert run_main(main, "jaxcnn", words.split()) == 0
    assert any(name in capsys.readouterr().out for name in CLASSES)


@pytest.mark.parametrize("name", hub_module.FILES)
def test_a_folder_is_whole_or_not_there(name, tmp_path, monkeypatch):
    def full(path, *_):
        if path.name == name:
            raise UserError("the disk is full")
        path.write_bytes(b"")

    monkeypatch.setattr("jaxcnn.pretrained.safetensors_files.write_atomically", full)
    monkeypatch.setattr(hub_module, "write_atomically", full)
    assert refusal(shared, tmp_path / "pets") == "the disk is full"
    assert not any(tmp_path.iterdir())


def test_what_is_there_is_left_alone(folder, tmp_path):
    assert "exists already" in refusal(shared, folder)
    (tmp_path / "empty").mkdir()
    assert_same(load_pretrained("vgg11", shared(tmp_path / "empty")))
    said = refusal(shared, tmp_path / "other", license_name="do: [what, you]")
    assert "is no licence by its name on the Hugging Face hub" in said
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "config.json cannot be read"),
        ("[" * 100_000, "nested too deeply"),
        ({"format_version": "2"}, "in a format that this one does not know"),
        ({"class_names": ["one"]}, "damaged header (ValueError: 1 names of 6 classes)"),
        ({"class_names": 7}, "damaged header"),
        ({"fields": {"blocks": [10**9]}}, "far more layers"),
        ({"model": "vgg17"}, "damaged header"),
        ({"preprocessing": {"mean": [1], "std": [1], "padding": 10**9}}, "padding is 0 to 8192"),
        ({"preprocessing": {"mean": [1], "std": [1], "crop": "big"}}, "crop is 1 to 8192"),
    ],
)
def test_a_damaged_configuration_is_refused_in_a_sentence(config, said, folder):
    path = folder / "config.json"
    if isinstance(config, dict):
        config = json.dumps({**json.loads(path.read_text()), **config})
    path.write_text(config)
    assert said in refusal(load_pretrained, "vgg11", folder)


def test_no_more_is_read_than_a_configuration_has(folder):
    with (folder / "config.json").open("r+b") as file:
        file.truncate(2**40)
    assert "are more than 67,108,864" in refusal(load_pretrained, "vgg11", folder)
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert "no regular file" in refusal(load_pretrained, "vgg11", folder)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("bang",)


def test_nothing_in_a_folder_is_run(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    (folder / "modeling.py").write_text("import os; os.mkdir('bang')")
    assert "is a pickle" in refusal(load_pretrained, "vgg11", folder)
    (folder / "model.safetensors").unlink()
    assert "holds no model.safetensors" in refusal(load_pretrained, "vgg11", folder)
    assert not (tmp_path / "bang").exists()


# From a hub

FETCH = """
import json, sys
from jaxcnn import load_pretrained, UserError
for name in json.loads(sys.argv[1]):
    try:
        print(json.dumps(load_pretrained("vgg11", name).class_names))
    except UserError as error:
        print(json.dumps(str(error)))
"""


def fetched(endpoint, home, *names, **environment):
    """What a process gets that knows this hub alone."""
    ended = subprocess.run(
        [sys.executable, "-c", FETCH, json.dumps(names)],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_a_name_on_a_hub_is_fetched_once_and_kept(folder, tmp_path):
    (folder / "modeling.py").write_text("raise SystemExit('run')")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with hub(files) as (endpoint, asked):
        here, again, revision, missing, secret = fetched(
            endpoint,
            tmp_path / "cache",
            "user/model",
            "user/model@main",
            "user/model@v2",
            "user/none",
            "user/secret",
        )
    assert here == again == list(CLASSES)
    got = [path.rpartition("/")[2] for method, path in asked if method == "GET" and "resol" in path]
    assert sorted(got) == ["config.json", "model.safetensors"]
    begin = "'user/{}' is no file or folder here, and not to be had from the Hugging Face hub ("
    assert revision == begin.format("model") + "there is none of that name and revision 'v2')."
    assert missing == begin.format("none") + "there is none of that name)."
    assert "it is not for everyone" in secret
    # The hub is gone now.
    offline = {"HF_HUB_OFFLINE": "1"}
    kept, other = fetched(endpoint, tmp_path / "cache", "user/model", "user/other", **offline)
    assert kept == list(CLASSES)
    assert (
        other == begin.format("other") + "it is not in the cache, and the hub cannot be reached)."
    )
    (unreached,) = fetched(endpoint, tmp_path / "nothing", "user/model")
    assert "the hub cannot be reached" in unreached


def test_without_its_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    said = refusal(load_pretrained, "vgg11", "user/model")
    assert said.endswith("the package huggingface_hub is missing: pip install 'jaxcnn[hub]'.")


@pytest.mark.parametrize(
    "name",
    [
        "weights.pth",
        "there/weights.pth",
        "here/weights",
        "/no/weights",
        "a/b/c",
        "./no",
        "user/m.h5",
    ],
)
def test_what_may_be_a_path_is_one(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert refusal(load_pretrained, "vgg11", name).startswith(f"{os.path.normpath(name)} cannot")


# The commands


def test_weights_are_shared_by_a_command(folder, tmp_path, capsys):
    again = tmp_path / "again"
    words = ["share", "vgg11", f"--weights={folder}", str(again), "--license=mit", "--json"]
    assert run_main(main, "jaxcnn", words) == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": str(again),
        "files": list(hub_module.FILES),
    }
    loaded = load_pretrained("vgg11", again)
    assert (loaded.preprocessing, loaded.class_names) == (PREPARE, CLASSES)
    assert_same(loaded)
    assert front_and_body(again)[0]["license"] == "mit"
    assert run_main(main, "jaxcnn", words) == 2
    assert "exists already" in capsys.readouterr().err
    assert run_main(main, "jaxcnn", [*words, "--image-size=7"]) == 2  # it is none of the weights'
    assert "no option '--image-size'" in capsys.readouterr().err


def test_a_run_is_shared_with_what_it_reached(tmp_path, capsys):
    workdir, output = tmp_path / "run", tmp_path / "digits"
    settings = {
        "model.width": 2,
        "model.hidden": 8,
        "train.epochs": 1,
        "train.batch_size": 320,
        "parallel.devices": 1,
        "data.threads": 2,
        "workdir": workdir,
    }
    options = [f"--config.{name}={value}" for name, value in settings.items()]
    assert run_recipe(vgg_imagenet.RECIPE, ["--config=digits", *options]) == 0
    capsys.readouterr()
    words = [f"--run={workdir}", f"--output={output}", "--license=apache-2.0"]
    assert run_main(share.main, "share", words) == 0
    assert f"Written to {output}" in capsys.readouterr().out
    member, best = of_run(str(workdir), run_config(str(workdir))), read_best(workdir)
    loaded = load_pretrained(member.name, output)
    assert_same(loaded, member.variables)
    assert loaded.class_names == tuple("0123456789")
    assert loaded.preprocessing == dataclasses.replace(
        member.preprocessing, shorter_side=32, crop=32, padding=0
    )
    padded = dataclasses.replace(member, padding=2, scale=28)
    share.share(padded, str(tmp_path / "p"), license_name=None, measured=[])
    prepare = load_pretrained(member.name, tmp_path / "p").preprocessing
    assert (prepare.shorter_side, prepare.padding, prepare.crop) == (28, 2, 32)
    front, body = front_and_body(output)
    (result,) = front["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == best["accuracy"]
    assert f"{best['accuracy']:.2%} | digits test | best evaluation, after" in body
    (workdir / "result.json").write_text("{}")
    assert run_main(share.main, "share", [words[0], f"--output={tmp_path / 'b'}"]) == 2
    assert "result.json is damaged" in capsys.readouterr().err
    (workdir / "result.json").unlink()
    assert share.measured(str(workdir)) == []


def read_best(workdir):
    return json.loads((workdir / "result.json").read_text())["best"]


def test_the_options_of_sharing_are_documented_and_checked(capsys):
    assert undocumented(share.ShareConfig) == []
    assert run_main(share.main, "share", ["--run=runs/x"]) == 2
    assert "give --run=WORKDIR and --output=FOLDER" in capsys.readouterr().err
