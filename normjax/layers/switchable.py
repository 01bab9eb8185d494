"""The flax module that mixes the moments of other norms."""

import flax.linen as nn

from normjax.errors import InputError
from normjax.layers.common import Norm, RunningNorm
from normjax.ops import switchable

__all__ = ["SwitchableNorm"]


class SwitchableNorm(RunningNorm):
    """`switchable.switchable_norm` with learned mixtures, scale and bias.

    Collections:
        params: `mean_logits` and `var_logits` (zeros), [kinds]: 3, or 2 where the
            spatial extent is 1; `scale` (ones) and `bias` (zeros), each [features].
        batch_stats: `mean` (zeros) and `var` (ones), each [features].
    """

    def normalize(self, x, train, mask):
        variables = self.statistics(x)
        logits = [self._logits(name, x) for name in ("mean_logits", "var_logits")]
        op, learned = switchable.switchable_norm, (*logits, *self.vectors(x))
        return self.blended(op, x, variables, *learned, train=train, mask=mask)

    def _logits(self, name: str, x):
        kinds = switchable.kinds(x.shape)
        if self.has_variable("params", name):
            size: int = self.get_variable("params", name).size
            if size != len(kinds):
                extent = "more than 1" if size > len(kinds) else "1"
                start = "as where the layer was initialized"
                mixed = f"its {name} mix {size} kinds of moments"
                rule = f"must have a spatial extent of {extent}, {start}: {mixed}"
                how = "initialize the layer with inputs of this shape"
                raise InputError("x.shape", x.shape, rule, how)
        return self.param(name, nn.initializers.zeros, (len(kinds),))


ROWS = {"switchable": Norm(SwitchableNorm)}
