"""The layers, and the norms among them by name: see `NORMS`.

A norm is called as `layer(x, train=..., mask=None)`. Every layer accepts `train` and
`mask`; those that do not need them ignore them, so that a model exchanges norms by
name.
"""

from normjax.layers.batch import (
    PRESETS,
    BatchNorm,
    FrozenBatchNorm,
    RunningMoments,
    ScalarBatchNorm,
)
from normjax.layers.batch_variants import (
    BatchRenorm,
    GhostBatchNorm,
    OnlineNorm,
    PowerNorm,
)
from normjax.layers.conv import Conv
from normjax.layers.dense import (
    Dense,
    Dropout,
    SpectralNorm,
    WeightNorm,
    WeightStandardization,
    data_dependent_init,
)
from normjax.layers.norm_activations import EvoNormB0, EvoNormS0, FilterResponseNorm
from normjax.layers.per_example import (
    Derf,
    DyT,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
    RMSNorm,
)
from normjax.layers.registry import NORMS, Norm, batch_norm_of, norm_named, normalizers
from normjax.layers.replace import replace
from normjax.layers.switchable import SwitchableNorm

__all__ = [
    "NORMS",
    "PRESETS",
    "BatchNorm",
    "BatchRenorm",
    "Conv",
    "Dense",
    "Derf",
    "Dropout",
    "DyT",
    "EvoNormB0",
    "EvoNormS0",
    "FilterResponseNorm",
    "FrozenBatchNorm",
    "GhostBatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "LocalResponseNorm",
    "Norm",
    "OnlineNorm",
    "PowerNorm",
    "RMSNorm",
    "RunningMoments",
    "ScalarBatchNorm",
    "SpectralNorm",
    "SwitchableNorm",
    "WeightNorm",
    "WeightStandardization",
    "batch_norm_of",
    "data_dependent_init",
    "norm_named",
    "normalizers",
    "replace",
]
