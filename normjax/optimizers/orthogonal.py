"""The optimizer whose steps are matrices with singular values near 1."""

import jax
import optax
import optax.contrib
from jaxtyping import PyTree, ScalarLike

from normjax.optimizers.penalties import kernels
from normjax.types import ScalarOrSchedule


def _matrices(params: PyTree) -> PyTree:
    """How `muon` takes each kernel as a matrix of inputs and outputs; else None."""

    def numbers(is_kernel, x):
        inputs = tuple(range(x.ndim - 1))
        axes = optax.contrib.MuonDimensionNumbers(inputs, x.ndim - 1)
        return axes if is_kernel and x.ndim > 1 else None

    return jax.tree.map(numbers, kernels(params), params)


def muon(
    *,
    learning_rate: ScalarOrSchedule = 1e-3,
    momentum: ScalarLike = 0.95,
    b1: ScalarLike = 0.9,
    b2: ScalarLike = 0.999,
    eps: ScalarLike = 1e-8,
    rms: ScalarLike = 0.2,
) -> optax.GradientTransformation:
    """`step = -learning_rate * rms * sqrt(max(inputs, outputs)) * orthogonal(m)`.

    m is the average of g with Nesterov's momentum, and `orthogonal` moves its singular
    values near 1, by five Newton-Schulz steps. That is for kernels of two axes or more:
    of a convolution, all but the last axis are inputs. The last layer is a kernel like
    any other, which Jordan leaves to Adam. All other parameters take the steps of Adam
    with Nesterov's momentum, `b1` and `b2`. By `rms` the steps of matrices are about as
    long as Adam's after its first ones (Liu et al.), so that one learning rate serves
    both. Weights decay by the penalty `weight_decay`. By `optax.contrib.muon`; torch
    has no correction of m and iterates in bfloat16, here jax's default precision of
    products decides.

    References:
        Jordan et al., 2024. Muon: An optimizer for hidden layers in neural networks.
        https://kellerjordan.github.io/posts/muon
        Liu et al., 2025. Muon is Scalable for LLM Training. arXiv:2502.16982.

    >>> tx, params = muon(learning_rate=0.5), {"kernel": jax.numpy.zeros((1, 4))}
    >>> step, _ = tx.update(params, tx.init(params), params)
    >>> print(step["kernel"].shape)
    (1, 4)
    """
    return optax.contrib.muon(
        learning_rate,
        beta=momentum,
        eps=eps,
        adam_b1=b1,
        adam_b2=b2,
        muon_weight_dimension_numbers=_matrices,
        consistent_rms=rms,
    )
