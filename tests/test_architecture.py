"""Networks as rows of boxes: which there are, how large, and that the file stands alone."""

import xml.etree.ElementTree as ElementTree

import flax.linen as nn
import pytest

from jaxcnn.inspection.architecture import draw_architecture
from jaxcnn.models import create_model, image_shape

SVG = "{http://www.w3.org/2000/svg}"


def boxes(picture):
    """What stands in each box, and its width and height."""
    return {
        rect.find(f"{SVG}title").text: (float(rect.get("width")), float(rect.get("height")))
        for rect in ElementTree.fromstring(picture).iter(f"{SVG}rect")
        if rect.find(f"{SVG}title") is not None
    }


def drawn(name, title="a network"):
    return draw_architecture(create_model(name), image_shape(name), title=title)


def test_the_layers_of_a_vgg_are_its_boxes():
    found = boxes(drawn("vgg16"))
    named = [words.split()[0] for words in found]
    counts = {kind: sum(n.startswith(kind) for n in named) for kind in ("conv", "pool", "fc")}
    assert counts == {"conv": 13, "pool": 5, "fc": 2}
    assert (named[0], named[-1], len(named)) == ("images", "logits", 22)
    assert "conv4_2 28 × 28 × 512" in found


def test_boxes_grow_with_maps_and_channels():
    found = boxes(drawn("vgg16"))
    convs = [found[words] for words in found if words.startswith("conv")]
    widths, heights = zip(*convs, strict=True)
    assert list(widths) == sorted(widths)
    assert list(heights) == sorted(heights, reverse=True)
    assert len(set(heights)) == 5
    assert len(set(widths)) == 4  # 64, 128, 256, 512 channels


def test_blocks_are_one_box():
    named = [words.split()[0] for words in boxes(drawn("resnet50"))]
    assert sum("/block" in name for name in named) == 16
    assert len(named) == 1 + 2 + 16 + 1  # images, conv1 and pool1, blocks, logits
    named = [words.split()[0] for words in boxes(drawn("googlenet"))]
    assert sum(name.startswith("inception_") for name in named) == 9
    assert not any("conv3x3" in name for name in named)


def test_what_is_there_in_training_only_is_dashed():
    root = ElementTree.fromstring(drawn("googlenet"))
    dashed = [
        rect.find(f"{SVG}title").text.split()[0]
        for rect in root.iter(f"{SVG}rect")
        if rect.get("stroke-dasharray") and rect.find(f"{SVG}title") is not None
    ]
    assert dashed == ["aux_4a", "aux_4d"]
    legend = [text.text for text in root.iter(f"{SVG}text")]
    assert "in training only" in legend
    assert "in training only" not in drawn("vgg16")


@pytest.mark.parametrize("name", ["lenet5_1998", "alexnet", "resnet20"])
def test_all_is_within_the_picture(name):
    root = ElementTree.fromstring(drawn(name))
    _, _, width, height = map(float, root.get("viewBox").split())
    for rect in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(rect.get(side)) for side in ("x", "y", "width", "height"))
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height


def test_it_needs_nothing_else_and_says_what_it_is():
    picture = drawn("lenet5", title='"LeNet" & <others>')
    root = ElementTree.fromstring(picture)
    assert root.get("aria-label") == root.find(f"{SVG}title").text == '"LeNet" & <others>'
    assert picture.count("http") == 1  # the name of SVG itself
    assert not {element.tag for element in root.iter()} & {f"{SVG}image", f"{SVG}script"}


def test_any_network_can_be_drawn():
    class Own(nn.Module):
        @nn.compact
        def __call__(self, images):
            x = nn.Conv(4, (3, 3), name="filters")(images)
            return nn.Dense(3, name="classes")(x.mean(axis=(1, 2)))

    picture = draw_architecture(Own(), (8, 8, 1), title="mine")
    assert list(boxes(picture)) == ["images 8 × 8 × 1", "filters 8 × 8 × 4", "classes 3"]
