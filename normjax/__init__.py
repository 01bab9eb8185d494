"""A JAX laboratory for normalization layers and optimizers.

A *study* asks one question, such as whether batch norm helps, by training every *arm*
of it over many seeds. An arm is compiled once, and its *lanes*, one network for each
seed at each point of a grid of traced *settings*, train together in that one program.
What they did is kept as a *record*: a row for each network and epoch, the trained
networks, and whatever *probes* measured on the device. A report compares the arms seed
by seed, with intervals that decide whether a published *claim* holds. The layers, the
optimizers and the statistics are a plain library as well.

    record = normjax.run(normjax.config(arms={"norm": ("none", "batch")}))
    record.networks.groupby("arm")["test_accuracy"].mean()

A *factor* is what arms differ in (norm, placement, optimizer, penalty, batch size); a
*protocol* replaces some of its levels, for a source worked that way; a *cell* is an arm
at one setting, over its seeds. docs/architecture.md has these words as a table.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normjax import layers, models, ops, optimizers, outliers, statistics
    from normjax.errors import InputError
    from normjax.study.config import config
    from normjax.study.record import read_record as load
    from normjax.study.run import run

__version__ = "0.3.0"
__all__ = [
    "InputError",
    "config",
    "layers",
    "load",
    "models",
    "ops",
    "optimizers",
    "run",
]
__all__ += ["outliers", "statistics"]

_FUNCTIONS = {  # name -> module, and what it is called there
    "InputError": ("normjax.errors", "InputError"),
    "config": ("normjax.study.config", "config"),
    "load": ("normjax.study.record", "read_record"),
    "run": ("normjax.study.run", "run"),
}


def __getattr__(name: str) -> Any:
    """Loads what is touched, so that `import normjax` is quick."""
    if name not in __all__:
        raise AttributeError(f"module 'normjax' has no attribute {name!r}")
    module, attribute = _FUNCTIONS.get(name, (f"normjax.{name}", ""))
    loaded = importlib.import_module(module)
    return getattr(loaded, attribute) if attribute else loaded


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
