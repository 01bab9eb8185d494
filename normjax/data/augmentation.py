"""Random changes of training images, drawn on the device from the key of a step.

An augmentation is a pure function `(key, images) -> images` of a batch of scaled images
`[batch, height, width, channels]`, float32, that keeps their shape and dtype. It sees
training batches only. Scaled means that zero is what `mean_image` and `pixelwise` make
of the mean, and `unit` of the darkest pixel. Nothing here knows of networks.

Each function draws one word of 32 random bits per image, because each use of the
generator costs XLA up to half a second of compilation on a CPU. The lowest bit decides
the flip and the other 31, modulo the number of places, the place, so that no place is
more probable than another by more than 1e-6 of its probability for images of up to
45 by 45 pixels.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from normjax import data_parallel
from normjax.errors import InputError
from normjax.types import Augmentation

PAD = 4  # pixels on each side, as He et al. (2016) have it for images of 32 by 32

Images = Float[Array, "batch height width channels"]
Image = Float[Array, "height width channels"]
Draws = UInt32[Array, " batch"]


def flip(key: Key[Array, ""], images: Images) -> Images:
    """Each image, or with probability 1/2 its mirror image, left for right."""
    return _each(_mirrored, images, _coins(_draws(key, images)))


def flip_crop(key: Key[Array, ""], images: Images) -> Images:
    """`flip`, then a crop of the old size from the image in a frame of `PAD` zeros.

    Each of the 81 places of the crop has the same probability. Zeros are added after
    scaling, as by He et al., who subtract the mean of each pixel first.

    References:
        He et al., 2016. Deep Residual Learning for Image Recognition, section 4.2.
        arXiv:1512.03385.
        Lee et al., 2015. Deeply-Supervised Nets. arXiv:1409.5185.
    """
    draws, places = _draws(key, images), 2 * PAD + 1
    top, left = jnp.divmod(_below(draws, places**2), places)
    return _each(_moved, images, _coins(draws), top, left)


def cutout(key: Key[Array, ""], images: Images) -> Images:
    """Zeros in a square whose centre is any pixel of the image, all equally probable.

    Its side is half the shorter one of the image, rounded down: 16 pixels for CIFAR-10,
    as in the paper, which takes 8 for CIFAR-100. What lies outside of the image is
    lost. A square of even side s covers s/2 pixels before its centre, the centre, and
    s/2 - 1 behind it.

    The paper subtracts the mean of each channel before, so zero is the mean there; it
    adds cutout to `flip_crop` too, which is a function of the user here.

    References:
        DeVries and Taylor, 2017. Improved Regularization of Convolutional Neural
        Networks with Cutout. arXiv:1708.04552.
    """
    _, height, width, _ = images.shape
    side = min(height, width) // 2
    row, column = jnp.divmod(_below(_draws(key, images), height * width), width)
    hidden = (
        _covered(row, height, side)[:, :, None]
        & _covered(column, width, side)[:, None, :]
    )
    return jnp.where(hidden[..., None], 0, images)


# Maps a name to a function of a key and a batch of images, or to None.
AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "flip": flip,
    "flip_crop": flip_crop,
    "cutout": cutout,
}


def augment(
    augmentation: Augmentation, key: Key[Array, ""], inputs: Float[Array, "..."]
) -> Float[Array, "..."]:
    """`augmentation(key, inputs)`; images that are stored without channels get one.

    Raises:
        InputError: the inputs are no images, or their shape or dtype is not kept.
    """
    if inputs.ndim not in (3, 4):
        rule = f"needs images, got examples of shape {inputs.shape[1:]}"
        raise InputError("augmentation", ..., rule, "set augmentation=none")
    images = inputs if inputs.ndim == 4 else inputs[..., None]
    new = augmentation(key, images)
    given = _array_text(images)
    if _array_text(new) != given:
        rule = f"must return images as it takes them, {given}, not {_array_text(new)}"
        remedy = "let it keep the shape and the dtype"
        raise InputError("augmentation", ..., rule, remedy)
    return new.reshape(inputs.shape)


def _array_text(x: Any) -> str:
    typed = hasattr(x, "dtype") and hasattr(x, "shape")
    return f"{x.dtype}{list(x.shape)}" if typed else type(x).__name__


def _draws(key: Key[Array, ""], images: Images) -> Draws:
    return jax.random.bits(key, (len(images),), jnp.uint32)


def _coins(draws: Draws) -> Bool[Array, " batch"]:
    """Their lowest bit."""
    return draws & 1 == 1


def _below(draws: Draws, number: int) -> Int[Array, " batch"]:
    """Whole numbers from 0 to `number - 1`, made of all bits but the lowest."""
    return ((draws >> 1) % number).astype(jnp.int32)


def _covered(
    centre: Int[Array, " batch"], length: int, side: int
) -> Bool[Array, "batch length"]:
    """Which of `length` pixels in a row a square of that side covers."""
    first = centre[:, None] - side // 2
    pixel = jnp.arange(length, dtype=jnp.int32)[None]
    return (pixel >= first) & (pixel < first + side)


def _mirrored(image: Image, mirror: Bool[Array, ""]) -> Image:
    return jax.lax.cond(mirror, lambda x: x[:, ::-1], lambda x: x, image)


def _moved(
    image: Image, mirror: Bool[Array, ""], top: Int[Array, ""], left: Int[Array, ""]
) -> Image:
    frame = jnp.pad(_mirrored(image, mirror), ((PAD, PAD), (PAD, PAD), (0, 0)))
    return jax.lax.dynamic_slice(frame, (top, left, 0), image.shape)


def _each(function: Callable[..., Image], images: Images, *draws: Array) -> Images:
    """`function` of each image and of what was drawn for it.

    A CPU changes image after image in its place, which stays in its cache: all at once
    take several times as long. The numbers are the same.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)(images, *draws)

    def all_changed(examples: tuple[Array, ...]) -> Images:
        part, *drawn = examples

        def change(i: Int[Array, ""], changed: Images) -> Images:
            at_i = lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False)
            image = function(at_i(changed), *map(at_i, drawn))
            return jax.lax.dynamic_update_index_in_dim(changed, image, i, 0)

        return jax.lax.fori_loop(0, len(part), change, part)

    return data_parallel.by_device(all_changed, (images, *draws))
