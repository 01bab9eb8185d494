"""Augmented images are images of the stated set, and each draw is one of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from normjax.data import augmentation

KEY = jax.random.key(0)
SIZE = 8
# every pixel another number, none of them zero
IMAGE = np.arange(1, 1 + SIZE * SIZE * 2, dtype=np.float32).reshape(SIZE, SIZE, 2)
BATCH = jnp.asarray(np.tile(IMAGE, (512, 1, 1, 1)))
BUILT_IN = [name for name, row in augmentation.AUGMENTATIONS.items() if row]


def augmented(name, key=KEY, images=BATCH) -> np.ndarray:
    return np.asarray(augmentation.AUGMENTATIONS[name](key, images))


def crops() -> dict[bytes, tuple[int, int, int]]:
    """All that `flip_crop` may make of IMAGE: content -> mirrored, top, left."""
    found = {}
    for mirrored, image in enumerate((IMAGE, IMAGE[:, ::-1])):
        frame = np.pad(image, ((4, 4), (4, 4), (0, 0)))
        for top in range(9):
            for left in range(9):
                crop = frame[top : top + SIZE, left : left + SIZE]
                found[crop.tobytes()] = (mirrored, top, left)
    return found


def test_a_crop_is_one_of_162_and_all_of_them_come():
    """2 * 81. After 4,096 draws one is missing with probability below 162 e^-25."""
    possible = crops()
    assert len(possible) == 162
    several = (augmented("flip_crop", jax.random.key(i)) for i in range(8))
    drawn = [possible[image.tobytes()] for images in several for image in images]
    assert len(set(drawn)) == 162


def test_a_flip_is_the_image_or_its_mirror_image_and_undoes_itself():
    once = augmented("flip")
    mirrored = np.array([not np.array_equal(x, IMAGE) for x in once])
    assert np.array_equal(once[mirrored], np.asarray(BATCH)[mirrored][:, :, ::-1])
    # a fair coin deviates from 256 by more than six of its deviations once in 1e9
    assert abs(mirrored.sum() - 256) < 6 * np.sqrt(512) / 2
    assert np.array_equal(augmented("flip", images=jnp.asarray(once)), BATCH)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 10)])
def test_cutout_hides_a_square_around_a_pixel_and_nothing_else(height, width):
    """A side of half the shorter one, rounded down; clipped at the border."""
    side = min(height, width) // 2
    possible = set()
    for row in range(height):
        for column in range(width):
            hidden = np.zeros((height, width), bool)
            top, left = (max(0, x - side // 2) for x in (row, column))
            bottom, right = (x - side // 2 + side for x in (row, column))
            hidden[top:bottom, left:right] = True
            possible.add(hidden.tobytes())
    images = jnp.asarray(1 + np.arange(1024 * height * width * 2, dtype=np.float32))
    images = images.reshape(1024, height, width, 2)
    new = augmented("cutout", images=images)
    hidden = new == 0
    assert np.array_equal(new, np.where(hidden, 0, images))
    assert (hidden[..., 0] == hidden[..., 1]).all()
    assert {x.tobytes() for x in hidden[..., 0]} == possible


def test_places_are_equally_probable_and_independent_of_the_coin():
    """Exactly: of all 32-bit words below 2 * 81 * k each pair is there k times."""
    words = jnp.arange(2 * 81 * 3, dtype=jnp.uint32)
    coins, places = augmentation._coins(words), augmentation._below(words, 81)
    pairs, counts = np.unique(np.stack([coins, places]), axis=1, return_counts=True)
    assert pairs.shape == (2, 162)
    assert set(counts) == {3}


@pytest.mark.parametrize("name", BUILT_IN)
def test_draws_belong_to_the_key_however_they_are_computed(name, monkeypatch):
    """Copies only, so to the bit: image after image, all at once, and over lanes."""
    keys, images = jax.random.split(KEY, 3), BATCH[:32]
    each = np.stack([augmented(name, key, images) for key in keys])
    assert len({x.tobytes() for x in each}) == 3
    over_lanes = jax.vmap(augmentation.AUGMENTATIONS[name], (0, None))
    assert np.array_equal(over_lanes(keys, images), each)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert np.array_equal(over_lanes(keys, images), each)


def as_numpy_has_it(name, key, images) -> np.ndarray:
    """`flip` or `flip_crop`, image after image, from the same draws."""
    new = np.array(images)
    draws = np.asarray(jax.random.bits(key, (len(images),), jnp.uint32))
    for image, draw in zip(new, draws, strict=True):
        frame = np.pad(image[:, ::-1] if draw & 1 else image, ((4, 4), (4, 4), (0, 0)))
        top, left = divmod((draw >> 1) % 81, 9) if name == "flip_crop" else (4, 4)
        image[:] = frame[top : top + image.shape[0], left : left + image.shape[1]]
    return new


@pytest.mark.parametrize("shape", [(5, 7, 3), (28, 28, 1), (3, 2, 1)])
@pytest.mark.parametrize("name", ["flip", "flip_crop"])
def test_flips_and_crops_move_numbers_and_keep_their_bits(name, shape):
    """inf, nan and -0 too; also images that a crop may leave out altogether."""
    draw = np.random.default_rng(0)
    images = draw.choice([1.5, -2.0, -0.0, np.inf, -np.inf, np.nan], (64, *shape))
    images = images.astype(np.float32)
    bits = lambda x: x.view(np.uint32)
    expected = bits(as_numpy_has_it(name, KEY, images))
    assert np.array_equal(bits(augmented(name, images=jnp.asarray(images))), expected)
    other = augmented(name, jax.random.key(1), jnp.asarray(images))
    assert not np.array_equal(bits(other), expected)


@pytest.mark.parametrize("name", BUILT_IN)
def test_images_without_channels_are_those_of_one(name):
    images = BATCH[..., 0]
    one = augmentation.AUGMENTATIONS[name]
    expected = one(KEY, images[..., None])[..., 0]
    assert np.array_equal(augmentation.augment(one, KEY, images), expected)
