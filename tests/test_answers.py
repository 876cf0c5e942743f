"""From views to answers to error rates: whatever the batches, every image counts once."""

import io

import numpy as np
import pytest

from experiments.results import class_accuracy
from jaxcnn.evaluation.answers import Answers, answer_all
from jaxcnn.evaluation.buckets import Buckets, Item
from jaxcnn.evaluation.scores import class_counts, confusion, error, wilson
from jaxcnn.progress import Progress

CLASSES, IMAGES = 7, 60
RNG = np.random.default_rng(0)
# Of each look, views of one of several shapes; what they are answered is a function of their sum.
SHAPES = [[(2, 3, 3, 1)], [(4, 4, 1), (4, 6, 1), (6, 4, 1), (2, 8, 1)]]


def image(number):
    views = {
        f"view{look}": RNG.integers(0, 256, shapes[number % len(shapes)], np.uint8)
        for look, shapes in enumerate(SHAPES)
    }
    facts = {"index": 3 * number, "label": number % CLASSES, "weight": 1}
    name = np.frombuffer(f"picture {number} é".encode(), np.uint8)
    return {**views, **{k: np.array(v) for k, v in facts.items()}, "name": name}


STREAM = [image(number) for number in range(IMAGES)]
STREAM[17] = {"index": np.array(51), "weight": np.array(0)}


def network(scale):
    """Probabilities of each row of views."""

    def probabilities(views):
        sums = views.astype(np.float64).reshape(len(views), -1).sum(axis=1)
        scores = np.sin(scale * sums[:, None] + np.arange(CLASSES))
        return (np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)).astype(np.float32)

    return probabilities


NETWORKS = [network(0.1), network(0.01)]


def answers(batch_size=4, room=2**20, stream=STREAM, networks=NETWORKS, output=None):
    bar = Progress(
        total=IMAGES, description="evaluation", every=0.0, stream=output or io.StringIO()
    )
    return answer_all(
        stream,
        lambda views: [network(views) for network in networks],
        Buckets(lambda shape: batch_size, room=room),
        looks=len(SHAPES),
        networks=len(networks),
        num_classes=CLASSES,
        progress=bar,
    )


def test_the_answers_are_those_of_a_plain_loop():
    found, skipped = answers()
    assert skipped == 1
    assert len(found) == IMAGES - 1
    rows = [one for one in STREAM if one["weight"]]
    for row, one in enumerate(rows):
        probabilities = np.mean(
            [network(one[f"view{look}"][None])[0] for network in NETWORKS for look in (0, 1)],
            axis=0,
            dtype=np.float64,
        )
        order = np.argsort(-probabilities)
        assert found.index[row] == one["index"]
        assert found.label[row] == one["label"]
        assert found.rank[row] == list(order).index(one["label"])
        np.testing.assert_array_equal(found.classes[row], order[:5])
        np.testing.assert_allclose(found.probabilities[row], probabilities[order[:5]], rtol=1e-6)
        assert found.names[row] == one["name"].tobytes()


@pytest.mark.parametrize("batch_size", [1, 3, 16, 1000])
@pytest.mark.parametrize("room", [2**20, 100])
def test_they_do_not_depend_on_the_batches(batch_size, room):
    found, expected = answers(batch_size, room)[0], answers()[0]
    for name, values in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), values)


def test_arrays_of_several_devices_are_in_order():
    def over_two(network):
        return lambda views: network(views).reshape(2, -1, CLASSES)

    found = answers(networks=[over_two(network) for network in NETWORKS])[0]
    np.testing.assert_array_equal(found.probabilities, answers()[0].probabilities)


def test_progress_counts_every_image():
    output = io.StringIO()
    answers(output=output)
    assert f"{IMAGES} of {IMAGES} images" in output.getvalue()
    assert "top1 error" in output.getvalue()


def test_what_is_not_a_number_is_no_correct_answer():
    found, _ = answers(networks=[lambda views: np.full((len(views), CLASSES), np.nan)])
    assert (found.rank == CLASSES).all()
    assert error(found, 5)["error"] == 1


def test_of_equal_probabilities_the_first_class_comes_first():
    found, _ = answers(networks=[lambda views: np.full((len(views), CLASSES), 1 / CLASSES)])
    np.testing.assert_array_equal(found.rank, found.label)
    np.testing.assert_array_equal(found.classes, np.tile(np.arange(5), (len(found), 1)))


def test_no_image_at_all():
    found, skipped = answers(stream=[])
    assert (len(found), skipped) == (0, 0)
    assert error(found, 1) == {"error": None, "interval": [0.0, 1.0], "wrong": 0}


def test_a_bucket_gives_out_what_is_full_and_in_the_end_the_rest():
    buckets = Buckets(lambda shape: 2)
    given = []
    for number, shape in enumerate([(1, 2, 1), (2, 1, 1), (1, 2, 1), (1, 2, 1)]):
        given += buckets.add(Item(number, 0, np.full(shape, number + 1, np.uint8)))
    assert [batch.places for batch in given] == [((0, 0), (2, 0))]
    np.testing.assert_array_equal(given[0].views.ravel(), [1, 1, 3, 3])
    rest = list(buckets.rest())
    assert [batch.places for batch in rest] == [((1, 0),), ((3, 0),)]
    np.testing.assert_array_equal(rest[1].views.ravel(), [4, 4, 0, 0])
    assert buckets.shapes == {(1, 2, 1), (2, 1, 1)}
    assert not list(buckets.rest())


def test_what_waits_is_bounded_and_the_largest_bucket_goes_first():
    buckets = Buckets(lambda shape: 100, room=50)
    waiting, given = 0, []
    for number in range(40):
        shape = (10,) if number % 3 else (7,)
        out = list(buckets.add(Item(number, 0, np.zeros(shape, np.uint8))))
        waiting += shape[0] - sum(len(b.places) * b.views.shape[1] for b in out)
        assert waiting <= 50
        given += out
    assert given[0].views.shape[1] == 10
    assert {batch.views.shape[0] for batch in given} == {100}


def rows(labels, ranks, best):
    count = len(labels)
    return Answers(
        index=np.arange(count, dtype=np.int32),
        label=np.array(labels, np.int32),
        rank=np.array(ranks, np.int32),
        classes=np.array([[one] for one in best], np.int32),
        probabilities=np.ones((count, 1), np.float32),
        names=np.array([b""] * count),
    )


def test_errors_and_confusions():
    found = rows(labels=[0, 0, 1, 1, 1], ranks=[0, 4, 0, 5, 0], best=[0, 1, 1, 0, 1])
    assert error(found, 1)["wrong"] == 2
    assert error(found, 5)["wrong"] == 1
    assert error(found, 1)["error"] == 2 / 5
    np.testing.assert_array_equal(confusion(found, 3), [[1, 1, 0], [1, 2, 0], [0, 0, 0]])
    assert class_accuracy(*class_counts(found, 3), ("a", "b", "c")) == {
        "a": {"accuracy": 0.5, "correct": 1, "count": 2},
        "b": {"accuracy": 2 / 3, "correct": 2, "count": 3},
        "c": {"accuracy": None, "correct": 0, "count": 0},
    }


@pytest.mark.parametrize(("count", "total"), [(0, 10), (3, 10), (10, 10), (14_000, 50_000)])
def test_wilsons_interval_holds_the_shares_that_the_count_does_not_refute(count, total):
    """Its ends are where the count lies 1.96 standard deviations of that share away from it."""
    low, high = wilson(count, total)
    assert 0 <= low <= count / total <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            deviation = np.sqrt(end * (1 - end) / total)
            assert abs(count / total - end) == pytest.approx(1.959964 * deviation, rel=1e-6)


def test_wilsons_interval_of_a_textbook():
    # Agresti & Coull 1998: 0 of 10 and 5 of 10.
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
