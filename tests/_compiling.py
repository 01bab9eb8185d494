"""How the programs of the tests are compiled: most of their time would go into it."""

import jax
from jax._src import compiler

# A third of the time of XLA's defaults on a CPU, and other roundings.
FAST = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_parallel_codegen_split_count": "1",
    "xla_cpu_use_fusion_emitters": False,
}
# The same for a process of its own, in XLA_FLAGS.
FLAGS = " ".join(f"--{name}={value}".lower() for name, value in FAST.items())

_chosen: dict[str, str | bool] = {}
_options = compiler.get_compile_options


def _with_chosen(*args, env_options_overrides=None, **keywords):
    overrides = _chosen | (env_options_overrides or {})
    return _options(*args, env_options_overrides=overrides, **keywords)


compiler.get_compile_options = _with_chosen


def compile_fast() -> None:
    """From now on programs are compiled with `FAST`."""
    _chosen.update(FAST)


def compile_as_users_do() -> None:
    """From now on nothing is compiled with `FAST`, nor was it before."""
    _chosen.clear()
    jax.clear_caches()
