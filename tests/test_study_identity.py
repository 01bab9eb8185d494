"""What networks are known by: different programs have different ids."""

import functools
import importlib
import itertools
import json
import sys

import optax
import pytest

import normjax
from normjax import layers
from normjax.optimizers import recipes
from normjax.study import identity, plan


def wrapped(recipe):
    """Another optimizer that has the name of the one it wraps."""

    @functools.wraps(recipe)
    def negative(**settings):
        return optax.chain(recipe(**settings), optax.scale(-1.0))

    return negative


def closing(x):
    return lambda y: x + y


def all_different(values) -> bool:
    texts = [json.dumps(identity.description(value)) for value in values]
    return len(set(texts)) == len(texts)


def test_every_row_of_a_table_is_another_one():
    assert all_different(recipes.RECIPES.values())
    assert all_different(layers.NORMS.values())
    presets = [layers.batch_norm_of(name) for name in layers.PRESETS]
    described = {json.dumps(identity.description(x)) for x in presets}
    assert len(described) == len({repr(x) for x in presets}) > 1


def test_a_function_is_more_than_its_name():
    makers = [functools.partial(optax.sgd, 0.1), functools.partial(optax.sgd, 0.2)]
    closures = [functools.partial(closing, x)() for x in (1, 2)]
    inner = [wrapped(recipes.sgd), wrapped(recipes.adam), recipes.sgd, recipes.adam]
    assert inner[0].__qualname__ == inner[2].__qualname__
    assert all_different([*makers, *closures, *inner])


def test_a_description_is_the_same_again():
    for make in (lambda: wrapped(recipes.sgd), lambda: layers.NORMS["batch"]):
        assert identity.description(make()) == identity.description(make())


def test_the_published_fault_is_another_network_and_what_it_leaves_is_the_same():
    """Adam without memory, and the third moment, which has none to lose."""
    protocols = {
        "mine": {"optimizer": {"adam": "normjax.audit.protocols.memoryless_adam"}}
    }
    arms = {
        "protocol": ("corrected", "mine"),
        "optimizer": ("adam", "third_moment"),
    }
    rates = {"learning_rate": (0.1,)}
    study = plan.study(normjax.config(protocols=protocols, arms=arms, settings=rates))
    ids = {arm.name: arm.id for arm in study.arms}
    assert ids["corrected-adam"] != ids["mine-adam"]
    assert ids["corrected-third_moment"] == ids["mine-third_moment"]
    assert len(set(ids.values())) == 3


@pytest.mark.parametrize(
    "field",
    ["model", "optimizer", "batch_size", "steps_per_epoch", "penalties", "probes"],
)
def test_every_part_of_a_program_is_in_its_id(field):
    program = plan.study(normjax.config()).arms[0].program
    other = {
        "model": program.model.clone(dropout=True),
        "optimizer": recipes.adam,
        "penalties": ("l2",),
        "probes": ("mode_gap",),
    }.get(field, 7)
    shared = {"data_crc32": 1, "root_seed": 2, "num_epochs": 3}
    ids = [
        json.dumps(identity.identity(x, **shared | more))
        for x, more in itertools.product(
            (program, program._replace(**{field: other})),
            ({}, {"data_crc32": 2}, {"root_seed": 3}, {"num_epochs": 4}),
        )
    ]
    assert len(set(ids)) == 8
    mapped = program._replace(mapping="vmap")
    assert identity.identity(mapped, **shared) == identity.identity(program, **shared)


def test_a_users_function_is_known_by_its_file(tmp_path, monkeypatch):
    """An edit makes it another network; the same text does not, nor does its place."""
    monkeypatch.syspath_prepend(tmp_path)
    described = []
    for text in ("0.1", "0.1", "0.2"):
        (tmp_path / "mine.py").write_text(
            "import functools, optax\n@functools.wraps(optax.sgd)\n"
            f"def opt(learning_rate={text}):\n    return optax.sgd(learning_rate)\n"
        )
        sys.modules.pop("mine", None)
        importlib.invalidate_caches()
        described.append(identity.description(importlib.import_module("mine").opt))
    assert described[0] == described[1] != described[2]
