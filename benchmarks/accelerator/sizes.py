"""How large the measurements are: for an accelerator, and to see that they work."""

from typing import NamedTuple


class Size(NamedTuple):
    """A row of `SIZES`."""

    matrix: int  # rows and columns of the matrices of a product
    copy_bytes: int
    calls: int  # of one function between two looks at the clock
    repeats: int  # timings, of which the median is reported, at most
    most_seconds: float  # after which no timing is repeated
    most_lanes: int
    most_steps: int  # of an epoch of all lanes
    most_batch: int  # examples of a training step
    blocks: int  # of each stage of a residual network; three are ResNet-20
    agreement_steps: int
    norm_shapes: tuple[tuple[int, ...], ...]
    images: tuple[int, ...]  # of a convolution alone
    study_arms: int  # of a study, at most
    study: str  # the argument `size` of its config
    every_setup: bool  # to train; if not, only those that have something new


SIZES = {
    "full": Size(
        matrix=8192,
        copy_bytes=2**31,
        calls=10,
        repeats=5,
        most_seconds=5.0,
        most_lanes=1_000,
        most_steps=10_000,
        most_batch=128,
        blocks=3,
        agreement_steps=20,
        norm_shapes=((8192, 4096), (256, 56, 56, 64)),
        images=(128, 28, 28, 64),
        study_arms=100,
        study="full",
        every_setup=True,
    ),
    "smoke": Size(
        matrix=256,
        copy_bytes=2**22,
        calls=2,
        repeats=3,
        most_seconds=1.0,
        most_lanes=2,
        most_steps=2,
        most_batch=8,
        blocks=1,
        agreement_steps=4,
        norm_shapes=((64, 128), (8, 14, 14, 64)),
        images=(8, 14, 14, 16),
        study_arms=1,
        study="smoke",
        every_setup=False,
    ),
}
