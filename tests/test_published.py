"""Published figures: those of the tables, and never one of another network or protocol."""

import itertools

import pytest

from experiments.ensemble import figures_of
from experiments.members import Member
from jaxcnn import models
from jaxcnn.evaluation.protocols import METHODS
from jaxcnn.evaluation.published import PUBLISHED, published
from jaxcnn.models import list_models
from jaxcnn.preprocessing import Preprocessing

Q256_512 = (256, 384, 512)


def figures(*arguments):
    return [(row.top1, row.top5) for row in published(*arguments)]


@pytest.mark.parametrize(
    ("networks", "protocol", "scales", "trained", "expected"),
    [
        (["vgg16"], "dense", [256], (256, 256), [(27.0, 8.8)]),
        (["vgg16"], "dense", [384], (384, 384), [(26.8, 8.7)]),
        (["vgg16"], "dense", [384], (256, 512), [(25.6, 8.1)]),
        (["vgg16"], "dense", [384], "unknown", [(26.8, 8.7), (25.6, 8.1)]),
        (["vgg19"], "dense", [512, 256, 384], (256, 512), [(24.8, 7.5)]),
        (["vgg13"], "dense", [224, 256, 288], (256, 256), [(28.2, 9.6)]),
        (["vgg16_1x1"], "dense", [352, 384, 416], (384, 384), [(27.8, 9.2)]),
        (["vgg11_lrn"], "dense", [256], "unknown", [(29.7, 10.5)]),
        (["vgg16"], "multi_crop", Q256_512, (256, 512), [(24.6, 7.5)]),
        (["vgg19"], "dense+multi_crop", Q256_512, (256, 512), [(24.4, 7.1)]),
        (["vgg19", "vgg16"], "dense+multi_crop", Q256_512, (256, 512), [(23.7, 6.8)]),
        (["vgg16", "vgg19"], "dense", Q256_512, "unknown", [(24.0, 7.1)]),
        (["alexnet"], "ten_crop", [256], (256, 256), [(40.7, 18.2)]),
        (["alexnet"] * 5, "ten_crop", [256], "unknown", [(38.1, 16.4)]),
        (["zfnet"], "ten_crop", [256], "unknown", [(38.4, 16.5)]),
        (["googlenet"], "googlenet_144", [256, 288, 320, 352], None, [(None, 7.89)]),
        (["resnet152"], "ten_crop", [256], (256, 480), [(21.43, 5.71)]),
        (["resnet50"], "dense", [224, 256, 384, 480, 640], (256, 480), [(20.74, 5.25)]),
        (["resnet50"], "center", [256], (256, 480), [(24.7, 7.8)]),
        (["resnet50_v1_5"], "center", [256], "unknown", [(23.844, None)]),
        # What no table has.
        (["vgg16"], "dense", [256], (256, 512), []),
        (["vgg16"], "dense", [320], "unknown", []),
        (["vgg16"], "multi_crop", [256], "unknown", []),
        (["vgg16", "vgg16"], "dense", [256], "unknown", []),
        (["vgg16_bn"], "dense", [256], "unknown", []),
        (["resnet50_v1_5"], "dense", [224, 256, 384, 480, 640], "unknown", []),
        (["googlenet"], "center", [256], "unknown", []),
    ],
)
def test_a_figure_belongs_to_its_row(networks, protocol, scales, trained, expected):
    assert figures(networks, protocol, scales, trained) == expected


def test_the_rows_name_what_there_is():
    for row in PUBLISHED:
        assert set(row.networks) <= set(list_models())
        assert row.networks == tuple(sorted(row.networks))
        assert row.protocol in METHODS
        assert row.scales == tuple(sorted(set(row.scales)))
        assert row.top1 is None or row.top5 is None or row.top5 < row.top1


def test_every_figure_is_found_by_its_own_row_alone():
    """Over all combinations of what the tables hold."""
    every = [{getattr(row, field) for row in PUBLISHED} for field in ("networks", "protocol")]
    scales = {row.scales for row in PUBLISHED}
    trained = {row.trained for row in PUBLISHED}
    found = 0
    for networks, protocol, q, s in itertools.product(*every, scales, trained):
        for row in published(networks, protocol, q, s):
            found += 1
            assert (row.networks, row.protocol, row.scales, row.trained) == (
                networks,
                protocol,
                q,
                s,
            )
    assert found == len(PUBLISHED)


def member(model, trained="unknown"):
    return Member(
        title="a network",
        name="vgg16",
        model=model,
        variables={},
        preprocessing=Preprocessing((0.0,) * 3, (1.0,) * 3),
        class_names=None,
        image_size=224,
        padding=0,
        scale=256,
        trained=trained,
    )


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (models.VGG16(), 1),
        (models.VGG16(dropout=0.1, initialization="he"), 1),
        (models.VGG16(width=32), 0),
        (models.VGG16(num_classes=10), 0),
        (models.VGG16(hidden=(512,)), 0),
        (models.VGG16BN(), 0),
    ],
)
def test_a_network_that_is_not_quite_the_papers_has_no_figure(model, count):
    assert len(figures_of("dense", (256,), [member(model)])) == count


def test_an_ensemble_of_networks_trained_otherwise_has_no_figure():
    d, e = models.VGG16(), models.VGG19()
    both = [member(d, (256, 512)), member(e, (256, 512))]
    assert len(figures_of("dense", Q256_512, both)) == 1
    assert not figures_of("dense", Q256_512, [both[0], member(e, (256, 256))])
    assert not figures_of("dense", Q256_512, [member(d, (256, 256)), member(e, (256, 256))])
