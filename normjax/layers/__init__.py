"""The layers, and the norms among them by name: see `NORMS`.

A norm is called as `layer(x, train=..., mask=None)`. Every norm accepts `train` and
`mask`; those that do not need them ignore them, so that a model exchanges norms by
name. What may be chosen about scale, bias, axes and dtypes is named as in flax.linen,
but for `eps` (its `epsilon`), `decay` (its `momentum`) and `train` (its
`use_running_average`, the other way around).
"""

# ruff: noqa: F403 (each module names in __all__ what is public)
from normjax.layers.batch import *
from normjax.layers.batch_variants import *
from normjax.layers.conv import *
from normjax.layers.dense import *
from normjax.layers.kernel_norms import *
from normjax.layers.norm_activations import *
from normjax.layers.per_example import *
from normjax.layers.registry import *
from normjax.layers.replace import *
