"""What is measured on the device after an epoch, besides loss and accuracy.

A probe is a pure function of one lane's state; it returns numbers by name. Those
that do not apply to an arm are nan there.
"""

from jaxtyping import Array, Float

from normjax.optimizers import transforms
from normjax.types import TrainState


def third_moment(state: TrainState) -> dict[str, Float[Array, ""]]:
    """How far the third-moment update is from Adam's, at the present moments."""
    return transforms.third_moment_probe(state.opt_state)


PROBES = {"third_moment": third_moment}
