"""What networks are known by: different programs have different ids."""

import functools
import hashlib
import importlib
import itertools
import json
import pathlib
import shutil
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import normjax
from normjax import files, layers
from normjax.audit import protocols
from normjax.data import augmentation, splits
from normjax.optimizers import recipes, schedules
from normjax.study import identity, plan

ROOT = pathlib.Path(__file__).parents[1]


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
    [
        *("model", "optimizer", "batch_size", "steps_per_epoch", "penalties"),
        *("schedule", "num_steps", "probes", "num_train", "l2_count"),
        *("augmentation", "precision", "last_batch"),
    ],
)
def test_every_part_of_a_program_is_in_its_id(field):
    program = plan.study(normjax.config()).arms[0].program
    other = {
        "model": program.model.clone(dropout=True),
        "optimizer": recipes.adam,
        "penalties": ("l2",),
        "schedule": schedules.cosine,
        "probes": ("mode_gap",),
        "augmentation": augmentation.flip,
        "precision": "bfloat16",
    }.get(field, 7)
    shared = {"data_digest": "1", "root_seed": 2, "num_epochs": 3}
    ids = [
        json.dumps(identity.identity(x, **shared | more))
        for x, more in itertools.product(
            (program, program._replace(**{field: other})),
            ({}, {"data_digest": "2"}, {"root_seed": 3}, {"num_epochs": 4}),
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


def test_an_edit_of_what_decides_numbers_gives_other_networks(tmp_path, monkeypatch):
    """Of this package, as `docs/adding.md` tells its users to; reports decide none."""
    described = [identity.numerics()]
    for place in ("report/page.py", "ops/norms.py", "layers/mine.py", "models.py"):
        copy = tmp_path / place.replace("/", "-") / "normjax"
        shutil.copytree(pathlib.Path(normjax.__file__).parent, copy)
        with open(copy / place, "a") as file:
            file.write("# edited\n")
        monkeypatch.setattr(normjax, "__file__", str(copy / "__init__.py"))
        described.append(identity.numerics())
    assert described[0] == described[1]
    assert len({json.dumps(x) for x in described[1:]}) == 4


def test_other_functions_of_this_package_are_known_by_their_file():
    described = json.dumps(identity.description(protocols.memoryless_adam))
    content = pathlib.Path(protocols.__file__).read_bytes()
    assert hashlib.sha256(content).hexdigest()[:16] in described


def test_data_are_known_by_their_types_and_shapes_too():
    zeros = [
        np.zeros(shape, dtype)
        for shape in ((), (1,), (2, 3), (3, 2), (6,), (0, 3), (3, 0))
        for dtype in (np.float32, np.int32, np.uint32, ">f4", jnp.bfloat16, np.uint8)
    ]
    pairs = [(np.zeros(2), np.zeros(1)), (np.zeros(1), np.zeros(2)), (np.zeros(3),)]
    digests = [*map(files.arrays_digest, [*([x] for x in zeros), *pairs])]
    assert len(set(digests)) == len(digests) == 45
    assert {len(x) for x in digests} == {32}
    turned = np.arange(6).reshape(2, 3).T
    assert files.arrays_digest([turned]) == files.arrays_digest([turned.copy()])


def test_the_data_of_a_study_are_known_by_their_shape(monkeypatch):
    splitting = splits.split
    ids = [plan.study(normjax.config()).arms[0].id]

    def reshaped(*args, **choices):
        data = splitting(*args, **choices)
        inputs = np.asarray(data.train.inputs)
        inputs = inputs.reshape(len(inputs), 4, -1, inputs.shape[-1])
        return data._replace(train=data.train._replace(inputs=inputs))

    monkeypatch.setattr(splits, "split", reshaped)
    assert plan.study(normjax.config()).arms[0].id not in ids


def with_defaults(default, keyword):
    def inner(x, factor=default, *, other=keyword):
        return x * factor + other

    return inner


def test_defaults_of_an_inner_function_are_in_its_id():
    assert all_different(itertools.starmap(with_defaults, [(1, 2), (1, 3), (2, 2)]))
    assert all_different([lambda x: x, lambda x: -x])


def test_arrays_are_known_by_type_shape_and_every_number():
    ramp = np.arange(3000, dtype=np.float32).reshape(30, 100)
    other = ramp.copy()
    other[15, 50] += 1e-3
    close = [np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(1))]
    keys = [jax.random.key(0), jax.random.key(1), jax.random.key(0, impl="rbg")]
    arrays = [ramp, other, ramp.T, ramp.reshape(-1), ramp.astype(np.int32), *close]
    assert all_different(map(closing, [*arrays, *keys, jnp.asarray(0.1)]))
    assert all_different([*map(jnp.asarray, arrays), *keys])
    assert identity.description(jnp.float32(2)) != identity.description(
        jnp.asarray(2.0)
    )
    assert json.dumps(identity.description(np.array([None, {1: 2}])))
    assert all_different([float("inf"), float("nan"), None, -float("inf")])


PROMPT = """
import functools, json, sys
import flax.linen as nn, jax, jax.numpy as jnp, numpy as np, optax
from normjax import layers
from normjax.study import identity
RATE = {rate}
class Scaled(nn.Module):
    gain: float = 1.0
    def __call__(self, x):
        return super().__call__(x) if x is None else {factor} * self.gain * x
class Child(Scaled):
    def extra(self):
        return 0
class Plain:
    __slots__ = ("gain",)
    constant = {constant}
    def __init__(self):
        self.gain = {{"a", "b", "c", "d"}}
    def __call__(self, x):
        return [y * {inner} for y in x]
def scaled(x):
    return Scaled()(x) * {factor}
def called(x):
    return scaled(x)
def rated(learning_rate=0.1):
    return optax.sgd(RATE)
values = [Scaled(), Scaled, Child(), Plain(), Plain, scaled, called, rated]
values += [jax.jit(scaled), functools.partial(rated, 0.2), nn.relu, np.add, sys.exit]
values += [layers.NORMS["batch"], {{"x", "y", "z"}}, object(), jax.random.key(3)]
values += [nn.initializers.lecun_normal(), lambda x: {factor} * x, np.float32, 1j]
for _ in range(2):
    print(json.dumps([identity.description(x) for x in values], sort_keys=True))
    Scaled().init(jax.random.key(0), jnp.ones(3))
"""
MAIN = """
import sys, normjax
from normjax.study import plan
print(plan.study(normjax.config()).arms[0].id)
for prompt in sys.argv[1:]:
    exec(prompt, {"__name__": "__main__"})
"""


def typed(*choices) -> tuple[str, list]:
    """An id, and what another process has typed at its prompt, once per choice."""
    default = {"rate": 0.1, "factor": 2, "inner": 3, "constant": 4}
    prompts = [PROMPT.format(**default | choice) for choice in choices]
    ran = subprocess.run(
        [sys.executable, "-c", MAIN, *prompts],
        capture_output=True,
        text=True,
        env={"PATH": "", "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    )
    assert ran.returncode == 0, ran.stderr
    assert " at 0x" not in ran.stdout
    name, *lines = ran.stdout.splitlines()
    assert lines[::2] == lines[1::2]  # before and after they are used
    return name, [json.loads(line) for line in lines[::2]]


def test_what_is_typed_at_a_prompt_is_known_by_its_code_in_every_process():
    names = (
        "Scaled() Scaled Child() Plain() Plain scaled called rated jit partial relu add"
        " exit batch set object key init lambda float32 complex"
    )
    choices = {"factor": 5}, {"inner": 5}, {"constant": 5}, {"rate": 0.5}
    changed = (
        "Scaled() Scaled Child() scaled called jit lambda",
        "Plain() Plain",
        "Plain() Plain",
        "rated partial",
    )
    name, (first, *others) = typed({}, *choices)
    assert (name, [first]) == typed({})
    assert name == plan.study(normjax.config()).arms[0].id
    labels = names.split()
    for other, expected in zip(others, changed, strict=True):
        pairs = zip(labels, first, other, strict=True)
        assert [label for label, x, y in pairs if x != y] == expected.split()


def test_a_module_is_known_by_the_text_that_was_first_described(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "first_text.py").write_text("def opt():\n    return 1\n")
    opt = importlib.import_module("first_text").opt
    before = identity.description(opt)
    (tmp_path / "first_text.py").write_text("def opt():\n    return 2\n")
    assert identity.description(opt) == before


NETWORK = """
import lazily.{helper} as helper
from lazily import other
SCALE = {scale}
class Net:
    def __call__(self, x):
        return {factor} * SCALE * helper.f(x)
"""


def written(folder, helper="helper", scale=1.0, factor=2, gain=3, deep=4) -> None:
    """A user's module, which imports others of hers, which import others."""
    (folder / "lazily").mkdir(exist_ok=True)
    text = NETWORK.format(helper=helper, scale=scale, factor=factor)
    (folder / "mine_too.py").write_text(text)
    helper = f"from .inner import deep\ndef f(x):\n    return {gain} * x\n"
    (folder / "lazily" / "helper.py").write_text(helper)
    (folder / "lazily" / "inner.py").write_text(f"def deep():\n    return {deep}\n")
    (folder / "lazily" / "other.py").write_text("def unused():\n    import lazily\n")
    (folder / "lazily" / "__init__.py").write_text("")


def loaded(names=("mine_too", "lazily")):
    for name in [x for x in sys.modules if x.split(".")[0] in names]:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.dont_write_bytecode = True
    try:
        return importlib.import_module("mine_too")
    finally:
        sys.dont_write_bytecode = False


def test_a_module_is_known_by_those_it_imports_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    described = []
    for choice in ({}, {"gain": 5}, {"deep": 5}, {"scale": 2.0}, {"factor": 3}, {}):
        written(tmp_path, **choice)
        described.append(json.dumps(identity.description(loaded().Net())))
    assert described[0] == described[-1]
    assert len(set(described)) == 5


@pytest.mark.parametrize("edit", [{"factor": 3}, {"scale": 2.0}])
def test_an_edit_counts_once_a_module_is_loaded_again(tmp_path, monkeypatch, edit):
    """What is in memory is described, be the file edited before or after."""
    monkeypatch.syspath_prepend(tmp_path)
    describe = lambda module: identity.description(module.Net())
    written(tmp_path)
    module = loaded()
    before = describe(module)
    written(tmp_path, **edit)
    assert describe(module) == before
    again = describe(importlib.reload(module))
    assert again == describe(loaded()) != before
    old = loaded()
    written(tmp_path)
    assert describe(old) not in (before, again)  # edited before it was described


def test_a_constant_that_was_set_from_outside_is_in_the_id(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    written(tmp_path)
    module = loaded()
    before = identity.description(module.Net())
    monkeypatch.setattr(module, "SCALE", 5.0)
    assert identity.description(module.Net()) != before


def test_a_script_is_known_by_what_is_used_of_it(tmp_path):
    """Another number of seeds in it leaves its model as it is; its rate does not."""
    described = []
    for seeds, rate in ((3, 0.1), (4, 0.1), (3, 0.2)):
        script = tmp_path / "script.py"
        script.write_text(
            "import json, optax\nfrom normjax.study import identity\n"
            f"SEEDS, RATE = {seeds}, {rate}\ndef opt():\n    return optax.sgd(RATE)\n"
            "print(json.dumps(identity.description(opt)))\n"
        )
        where = {"PATH": "", "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        ran = subprocess.run(
            [sys.executable, script], capture_output=True, text=True, env=where
        )
        assert ran.returncode == 0, ran.stderr
        described.append(ran.stdout)
    assert described[0] == described[1] != described[2]


class Callable:
    """Has no attributes, or those of its slots."""

    __slots__ = ("__gain",)

    def __call__(self, x):
        return x

    def grown(self, gain):
        self.__gain = gain
        return self


class Wrapping:
    """Has the name of what it wraps and a number of its own."""

    def __init__(self, function, gain):
        functools.update_wrapper(self, function)
        self.gain = gain


def test_an_object_is_known_by_its_class_and_attributes_and_never_by_its_address():
    assert identity.description(Callable()) == identity.description(Callable())
    grown = [Callable().grown(1), Callable().grown(2), Callable()]
    assert all_different([*grown, *(Wrapping(closing, x) for x in (1, 2))])
    assert all_different([grown[0].grown, grown[1].grown])
    fine = [object(), threading.Lock(), {object: 1}, {closing: 2}, [].append]
    assert " at 0x" not in json.dumps([identity.description(x) for x in fine])


def recursive(factor):
    def inner(x):
        return factor if x == 0 else inner(x - 1)

    return inner


def test_what_holds_itself_has_an_end():
    assert all_different([recursive(1), recursive(2)])
    assert identity.description(recursive(1)) == identity.description(recursive(1))
    endless: list = [1]
    endless.append(endless)
    assert json.dumps(identity.description(endless))


def local_class(factor):
    class Local:
        def __call__(self, x):
            return factor * x

    return Local


def test_a_local_class_is_known_by_what_it_closes_over():
    assert all_different([local_class(1), local_class(2)])
    assert all_different([local_class(1)(), local_class(2)()])
