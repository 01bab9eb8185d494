"""In which floating-point numbers a network computes: its parameters stay float32."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

PRECISIONS: dict[str, Any] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def apply(
    model: nn.Module,
    params: PyTree,
    stats: PyTree,
    inputs: Float[Array, " batch *shape"],
    *,
    precision: str,
    **options: Any,
) -> Any:
    """`model.apply` with parameters and inputs rounded to `precision`, a row above.

    Logits come back as float32. With float32 nothing is added. With bfloat16 (8 bits of
    mantissa, the range of float32) matrix products, convolutions and activations are in
    bfloat16; norms compute their moments and their output in float32 and round the
    result. Parameters, gradients, `stats`, the optimizer's state and the loss stay
    float32: the gradient of the rounding is taken as 1.

    Mixed precision as of Kalamkar et al.; it needs no scaling of the loss, as float16
    does. Flax modules with `dtype=bfloat16` keep the scale and bias of norms in
    float32; here they are rounded like all other parameters.

    Args:
        model: a flax module.
        params: its parameters, float32.
        stats: its mutable collections, which are not rounded.
        inputs: a batch of scaled examples, float32.
        precision: a row of `PRECISIONS`.
        options: keywords of `model.apply`; with `mutable` it returns a pair, of which
            the logits are the first.

    References:
        Kalamkar et al., 2019. A Study of BFLOAT16 for Deep Learning Training.
        arXiv:1905.12322.
    """
    if precision == "float32":
        return model.apply({"params": params, **stats}, inputs, **options)
    dtype = PRECISIONS[precision]
    floating = lambda x: jnp.issubdtype(x.dtype, jnp.floating)
    rounded = lambda x: x.astype(dtype) if floating(x) else x
    variables = {"params": jax.tree.map(rounded, params), **stats}
    result = model.apply(variables, rounded(inputs), **options)
    if isinstance(result, tuple):
        logits, new = result
        return logits.astype(jnp.float32), new
    return result.astype(jnp.float32)
