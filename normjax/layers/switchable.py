"""The flax module that mixes the moments of other norms."""

import flax.linen as nn
from jaxtyping import Array, Num

from normjax.layers.common import running_moments, scale_and_bias
from normjax.ops import moments, switchable


class SwitchableNorm(nn.Module):
    """`switchable.switchable_norm` with learned mixtures, scale and bias.

    While initializing it evaluates, as `BatchNorm` does.

    Collections:
        params: `mean_logits` and `var_logits` (zeros), [kinds]: 3, or 2 where the
            spatial extent is 1; `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `mean` (zeros) and `var` (ones), each [features].
    """

    decay: float = 0.9  # weight of the past in `batch_stats`, per step
    eps: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Num[Array, "batch *spatial features"], *, train: bool, mask=None
    ):
        mean, var = running_moments(self, x)
        running = moments.Running(mean.value, var.value)
        zeros, kinds = nn.initializers.zeros, (len(switchable.kinds(x.shape)),)
        logits = (self.param(f"{of}_logits", zeros, kinds) for of in ("mean", "var"))
        train = train and not self.is_initializing()
        settings = {"train": train, "decay": self.decay, "eps": self.eps}
        y, new = switchable.switchable_norm(
            x, running, *logits, *scale_and_bias(self, x), mask=mask, **settings
        )
        if train:
            mean.value, var.value = new
        return y
