"""Views of JPEGs of which no more is decoded than is shown."""

import ctypes
import io

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import jpeg
from jaxcnn.data.crops import AugmentConfig, eval_view, train_view
from jaxcnn.data.data_config import DataConfig
from jaxcnn.data.decode import decode
from jaxcnn.data.jpeg import Window, decode_window
from jaxcnn.data.pipeline import EvalBatches, TrainBatches
from jaxcnn.data.reading import exact_choice, fast_choice, read_view
from jaxcnn.data.sources import Example
from jaxcnn.data.views import METHODS, Parts, View, cut
from jaxcnn.errors import UserError
from jaxcnn.randomness import Purpose, host_generator

SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
AREA = AugmentConfig(crop="area")


@pytest.fixture(autouse=True)
def no_fallback():
    """Every test here is of the library; that it is at hand is part of what is installed."""
    jpeg.check_library()


def photo(height, width, seed=0, noise=6):
    """Smooth structure of several sizes in colour, with grain."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 100
    image = np.full((height, width, 3), 128.0)
    for size in (1, 3, 9, 27):
        a, b, *phases = generator.uniform(-size, size, 5)
        waves = np.stack([np.sin(a * rows + b * columns + phase) for phase in phases], -1)
        image += 40 / size**0.5 * waves
    image += generator.normal(0, noise, (height, width, 1))
    return np.clip(image, 0, 255).astype(np.uint8)


def encoded(image, form="JPEG", **options):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, form, **({"quality": 90} | options))
    return stream.getvalue()


def shown(data, view, channels=3, **options):
    out = np.full((view.size, view.size, channels), 7, np.uint8)
    read_view(data, view, out, **options)
    return out


def whole(data, view, channels=3):
    """What was shown before any image was decoded in part."""
    return view.apply(decode(data, channels, shorter_side=view.shorter_side))


def drawn(config, size, count, **options):
    return [
        train_view(config, size, host_generator(5, Purpose.CROP, 0, index), **options)
        for index in range(count)
    ]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("subsampling", SUBSAMPLINGS)
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_a_window_has_the_pixels_of_the_whole_image(reduction, subsampling, channels):
    data = encoded(photo(243, 331), subsampling=subsampling)
    full = Image.open(io.BytesIO(data))
    full.draft("L" if channels == 1 else None, tuple(side // reduction for side in full.size))
    expected = np.asarray(full).reshape(*full.size[::-1], channels)
    height, width = expected.shape[:2]
    assert (height, width) == (-(-243 // reduction), -(-331 // reduction))
    generator = np.random.default_rng(reduction)
    for _ in range(60):
        top, left = int(generator.integers(height)), int(generator.integers(width))
        rows = int(generator.integers(1, height - top + 1))
        columns = int(generator.integers(1, width - left + 1))
        window = Window(top, left, rows, columns)
        part = decode_window(data, channels, lambda *_, w=window: (w, reduction))
        np.testing.assert_array_equal(part, cut(expected, window), str(window))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("config", "size"),
    [
        (AREA, 64),
        (AugmentConfig(crop="area", interpolation="random"), 64),
        (AugmentConfig(scale_min=96, scale_max=160), 64),
        (AugmentConfig(scale_min=96, central_square=True, pad=4), 64),
        (AugmentConfig(crop="area", area_min=0.9), 30),  # at 1/4 of its size
    ],
)
def test_exactly_the_same_is_shown_as_of_the_whole_image(config, size, channels):
    for seed, shape in enumerate([(188, 250), (250, 187), (70, 90)]):
        data = encoded(photo(*shape, seed), subsampling=SUBSAMPLINGS[seed])
        for view in [*drawn(config, size, 12), eval_view(config, size)]:
            np.testing.assert_array_equal(
                shown(data, view, channels), whole(data, view, channels), str(view)
            )


@pytest.mark.parametrize(
    "data",
    [
        encoded(photo(90, 120), progressive=True),
        encoded(photo(90, 120)[..., 0]),
        encoded(photo(90, 120), "PNG"),
        encoded(photo(90, 120)) + b"behind its end",
    ],
    ids=["progressive", "grey", "png", "trailing"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_other_images_are_shown_as_before(data, channels):
    for view in drawn(AREA, 32, 5):
        np.testing.assert_array_equal(shown(data, view, channels), whole(data, view, channels))


def test_cmyk_is_left_to_pillow():
    stream = io.BytesIO()
    Image.fromarray(photo(60, 80)).convert("CMYK").save(stream, "JPEG")
    assert decode_window(stream.getvalue(), 3, lambda *size: (Window(0, 0, *size), 1)) is None
    for view in drawn(AREA, 32, 3):
        np.testing.assert_array_equal(
            shown(stream.getvalue(), view), whole(stream.getvalue(), view)
        )


def test_a_truncated_image_is_refused_whatever_part_is_drawn():
    data = encoded(photo(90, 120))[:-400]
    view = View(scale=1, size=16, top=0.0, left=0.0, parts=Parts(((0.1, 1.0),), 1.0))
    out = np.full((16, 16, 3), 7, np.uint8)
    with pytest.raises(UserError, match=r"cut\.jpg"):
        read_view(data, view, out, name="cut.jpg")
    assert (out == 7).all()


def test_damage_within_the_part_gives_what_pillow_makes_of_it():
    data = bytearray(encoded(photo(120, 160)))
    middle = len(data) // 2
    data[middle : middle + 40] = b"\xff\x00" * 20
    view = View(scale=1, size=64, top=0.5, left=0.5, parts=Parts(((0.9, 1.3),), 2.0))
    np.testing.assert_array_equal(shown(bytes(data), view), whole(bytes(data), view))


def test_after_damage_the_next_image_is_decoded_in_part_again():
    clean = encoded(photo(100, 140))
    window = Window(10, 20, 50, 60)
    for damaged in (clean[:3] + b"\x07" + clean[4:], clean[:400] + clean[-2:]):
        assert decode_window(damaged, 3, lambda *_: (window, 1)) is None
        part = decode_window(clean, 3, lambda *_: (window, 1))
        np.testing.assert_array_equal(part, cut(decode(clean, 3), window))


def test_rows_below_the_part_are_not_read():
    """Their codes may be anything: so much of the work is saved."""
    clean = encoded(photo(400, 200))
    damaged = bytearray(clean)
    damaged[-2000:-2] = bytes(1998)
    window = Window(10, 30, 100, 90)
    parts = [decode_window(bytes(d), 3, lambda *_: (window, 1)) for d in (clean, damaged)]
    np.testing.assert_array_equal(*parts)


def test_without_the_library_the_same_is_shown(monkeypatch):
    data, views = encoded(photo(188, 250)), drawn(AREA, 64, 6)
    with_it = [shown(data, view) for view in views]
    monkeypatch.setattr(jpeg, "_library", lambda: None)
    np.testing.assert_array_equal([shown(data, view) for view in views], with_it)
    with pytest.raises(UserError, match=r"^data.decode='fast' needs libjpeg-turbo 3; `pip install"):
        TrainBatches(Photos(), config=DataConfig(decode="fast"), augment=AREA, batch_size=2, seed=0)


def test_a_library_from_before_version_3_is_passed_over(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: "libc.so.6")
    jpeg._library.cache_clear()
    assert jpeg._library() is not None
    monkeypatch.setattr(jpeg, "_packaged", lambda: None)
    jpeg._library.cache_clear()
    assert jpeg._library() is None
    monkeypatch.undo()
    jpeg._library.cache_clear()


@pytest.mark.parametrize(
    ("share", "aspect", "height", "width", "reduction"),
    [
        (1.0, 1.0, 448, 448, 2),
        (1.0, 1.0, 447, 447, 1),
        (0.25, 1.0, 896, 896, 2),
        (0.24, 1.0, 896, 896, 1),
        (1.0, 2.0, 448, 896, 2),
        (1.0, 2.0, 896, 1792, 4),
        (1.0, 1.0, 1791, 1791, 4),
        (1.0, 1.0, 1792, 1792, 8),
        (1.0, 1.0, 8000, 8000, 8),
    ],
)
def test_the_scale_is_the_smallest_that_leaves_what_is_shown(
    share, aspect, height, width, reduction
):
    view = View(scale=1, size=224, top=0.3, left=0.9, parts=Parts(((share, aspect),), 4.0))
    window, chosen = fast_choice(view, height, width)
    assert chosen == reduction
    assert min(window.rows, window.columns) >= 224
    assert window.top + window.rows <= -(-height // chosen)
    assert window.left + window.columns <= -(-width // chosen)
    # Exactly, the scale is one for all of the parts that might have been drawn.
    assert exact_choice(view, height, width)[1] <= reduction


def test_a_crop_is_cut_first_where_it_lies():
    view = View(scale=256, size=224, top=0.0, left=0.999)
    assert fast_choice(view, 375, 500) == (Window(0, 172, 328, 328), 1)
    assert fast_choice(view._replace(top=None, left=None), 1024, 1024) == (
        Window(16, 16, 224, 224),
        4,
    )


@pytest.mark.parametrize(
    ("config", "shape", "smooth", "grained"),
    [
        (AREA, (375, 500), 0.4, 2),  # bilinear interpolation where exact is the mean over areas
        (AREA, (512, 683), 1, 2.5),  # cut at half scale, to whole pixels
        (AugmentConfig(scale_min=256), (375, 500), 1, 3.5),  # cut to whole pixels
    ],
)
def test_fast_is_near_exact(config, shape, smooth, grained):
    """Off by half a pixel where it is cut to whole pixels, and by some of the grain (6 levels)."""
    for noise, most in ((0, smooth), (6, grained)):
        data = encoded(photo(*shape, noise=noise))
        errors = [
            np.abs(shown(data, view, decode="fast").astype(int) - shown(data, view)).mean()
            for view in drawn(config, 224, 16)
        ]
        assert 0 < max(errors) < most


class Photos:
    """Eight JPEGs."""

    name, class_names, channels = "photos", ("a", "b"), 3

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return Example(encoded(photo(100 + index, 140, index)), index % 2, f"photo {index}")


@pytest.mark.parametrize("method", [None, *METHODS])
@pytest.mark.parametrize("flip", [False, True])
def test_batches_are_what_their_images_are(method, flip, monkeypatch):
    """Written in place, bit for bit what the images make that are decoded and shown one by one."""
    batches = TrainBatches(
        Photos(), config=DataConfig(image_size=48), augment=AREA, batch_size=4, seed=2
    )
    views = [view._replace(method=method, flip=flip) for view in drawn(AREA, 48, 4)]
    indices = [3, 0, 6, 1]
    batch = batches._batch(indices, views, "exact")
    expected = [whole(Photos()[i].image, view) for i, view in zip(indices, views, strict=True)]
    np.testing.assert_array_equal(batch["image"], np.stack(expected))
    np.testing.assert_array_equal(batch["label"], [1, 0, 0, 1])


def test_only_training_is_fast():
    def made(kind, decode, **more):
        config = DataConfig(image_size=48, decode=decode)
        return kind(Photos(), config=config, augment=AREA, batch_size=4, **more)

    exact, fast = (made(TrainBatches, decode, seed=1) for decode in ("exact", "fast"))
    assert (exact[1]["image"] != fast[1]["image"]).any()
    np.testing.assert_array_equal(exact[1]["index"], fast[1]["index"])
    exact, fast = (made(EvalBatches, decode) for decode in ("exact", "fast"))
    np.testing.assert_array_equal(exact[1]["image"], fast[1]["image"])


def test_a_decode_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match=r"data\.decode"):
        DataConfig(decode="quick").check()
