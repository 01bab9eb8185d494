"""A user's model: trained as normjax' own are, and what is refused in one line."""

import functools
import importlib
import json
import os
import pathlib
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _compiling import FLAGS
from flax import nnx

import normjax
from normjax import layers, models
from normjax.errors import InputError
from normjax.layers.common import Initializer
from normjax.own_model import TRAINING, own_model
from normjax.study import plan
from normjax.study.folder import check_path
from normjax.training import lanes

ROOT = pathlib.Path(__file__).parents[1]
ROWS = np.arange(40)
INPUTS = np.sin(np.arange(40 * 6)).reshape(40, 6).astype(np.float32)
DATA = (INPUTS, ROWS % 3, INPUTS[:9], ROWS[:9] % 3)  # three classes
CHOICES = {
    "num_seeds": 2,
    "num_epochs": 2,
    "batch_size": 8,
    "data": {"num_validation": 8},
}
NORMS = {"norm": ("none", "batch")}


def run(**choices):
    """A record of a small study of DATA; `model` is one of the user's."""
    model = choices.pop("given", None)
    return normjax.run(normjax.config(**CHOICES | choices), model=model, data=DATA)


def study(given=None, /, **choices):
    """The same, and nothing is trained."""
    return plan.study(normjax.config(**CHOICES | choices), model=given, data=DATA)


class SameAsMLP(nn.Module):
    """models.MLP((5, 5), 3, norm=batch), written by somebody else."""

    kernel_init: Initializer = nn.initializers.he_normal()
    num_classes: int = 3

    @nn.compact
    def __call__(self, x, train):
        dense = functools.partial(nn.Dense, kernel_init=self.kernel_init)
        for i in range(2):
            x = dense(5, name=f"dense_{i}")(x)
            x = layers.BatchNorm(name=f"norm_{i}")(x, train=train)
            x = nn.relu(x)
        return dense(self.num_classes, name="logits")(x)


class Own(nn.Module):
    """As flax' examples write it: a batch norm and a dropout of its own."""

    width: int = 4
    num_classes: int = 3

    @nn.compact
    def __call__(self, x, train: bool = True):
        x = nn.Dense(self.width)(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(x))
        return nn.Dense(self.num_classes)(x)


def assert_same_curves(one, other, names=None):
    pairs = names or zip(one.curves, one.curves)
    for a, b in pairs:
        np.testing.assert_array_equal(one.curves[a], other.curves[b], err_msg=a)


@pytest.fixture(scope="module")
def ours():
    """The MLP of normjax with two norms at two scales of its initial weights."""
    return run(**MLP, model={"widths": (5, 5)})


MLP = {
    "arms": {"norm": ("batch", "rms")},
    "settings": {"init_scale": (1.0, 2.0), "learning_rate": (0.1,)},
}


def test_the_same_network_trains_to_the_same_bits(ours):
    """And its norms are exchanged, in the same places, for those of the arms."""
    theirs = run(**MLP, given=SameAsMLP())
    assert_same_curves(ours, theirs)
    mine, hers = (x.variables("rms", seed=1, init_scale=2) for x in (ours, theirs))
    jax.tree.map(np.testing.assert_array_equal, mine, hers)


def test_a_module_is_taken_as_it_is_unless_norms_are_chosen(ours):
    """And what its record gives back is what its own `apply` takes."""
    record = run(settings=MLP["settings"], given=SameAsMLP())
    (arm,) = record.record["arm_order"]
    names = [(x, f"{arm}/{x.partition('/')[2]}") for x in ours.curves if "batch/" in x]
    assert_same_curves(ours, record, names)
    kept = record.variables(arm, seed=1, init_scale=1)
    variables = jax.tree.map(jnp.asarray, kept)
    low, high = INPUTS.min(), INPUTS.max()
    logits = SameAsMLP().apply(variables, (DATA[2] - low) / (high - low), train=False)
    (row,) = record.networks.query("seed == 1 and init_scale == 1").itertuples()
    hits = np.mean(np.argmax(logits, -1) == DATA[3])
    assert hits == pytest.approx(row.test_accuracy)
    assert record.config["model"]["name"] == f"<{__name__}.SameAsMLP>"


def test_norms_that_are_chosen_count_also_if_they_are_the_only_ones():
    """And `own`, the level of a study that chooses none, can be chosen beside them."""
    ids = lambda **arms: {x.factors["norm"]: x.id for x in study(Own(), arms=arms).arms}
    every = ids(norm=("own", "none", "batch"))
    assert len(set(every.values())) == 3
    assert ids() == {"own": every["own"]}
    assert ids(norm=("none",)) == {"none": every["none"]}
    made = study(Named, arms={"penalty": ("dropout",)})
    assert made.config["arms"]["norm"] == ("none",)
    mixed = study(arms={"model": ("mlp", f"{__name__}.Own")})
    assert [x.factors["norm"] for x in mixed.arms] == ["own", "own"]
    assert mixed.arms[0].id == study().arms[0].id


class Undropped(Own):
    """The same without its dropout."""

    @nn.compact
    def __call__(self, x, train: bool = True):
        x = nn.Dense(self.width)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        return nn.Dense(self.num_classes)(x)


def trained(model, lanes_of):
    """State and report of these lanes after an epoch, leaves [lanes]."""
    made = study(model)
    rates = {"learning_rate": np.full(len(lanes_of), 0.1, np.float32)}
    rates["momentum"] = 0 * rates["learning_rate"]
    keys, program = made.keys[np.array(lanes_of)], made.arms[0].program
    (done,) = lanes.train(keys, rates, made.data, program=program, num_epochs=1)
    state, report = done
    leaf = lambda x: np.asarray(x)[: len(lanes_of)]
    return jax.tree.map(leaf, (state.params, state.stats)), report


def test_its_own_statistics_and_dropout_work_and_a_lane_alone_is_the_lane():
    together = trained(Own(), [0, 1])
    mean = together[0][1]["batch_stats"]["BatchNorm_0"]["mean"]
    assert (mean != 0).all()
    assert (mean[0] != mean[1]).all()
    for k in (0, 1):
        mine = jax.tree.map(lambda x, k=k: x[k : k + 1], together)
        jax.tree.map(np.testing.assert_array_equal, mine, trained(Own(), [k]))
    (params, _), _ = trained(Undropped(), [0, 1])
    kernels = [x["Dense_1"]["kernel"] for x in (together[0][0], params)]
    assert (kernels[0] != kernels[1]).any()


def spelled(argument: str, inverse: bool, mark: str):
    """A module that takes `argument` and adds 1 to its logits where it trains."""
    scope = {"nn": nn}
    lines = (
        f"def call(self, x, {mark.format(argument)}):",
        "    y = nn.Dense(3, use_bias=False)(x)",
        f"    return y + ({argument} != {inverse})",
    )
    exec("\n".join(lines), scope)
    return type("Spelled", (nn.Module,), {"__call__": nn.compact(scope["call"])})()


@pytest.mark.parametrize("mark", ["{}", "{}=None", "*, {}", "{}, /"])
@pytest.mark.parametrize("argument", TRAINING)
def test_spellings_of_train(argument, mark):
    inverse = argument in ("deterministic", "use_running_average")
    model = own_model(spelled(argument, inverse, mark), num_classes=3)
    x = jnp.ones((2, 6))
    variables = model.init(jax.random.key(0), x, train=False)
    apart = [model.apply(variables, x, train=train) for train in (True, False)]
    np.testing.assert_allclose(apart[0] - apart[1], 1, atol=1e-6)


SEQUENTIAL = nn.Sequential(
    [nn.Dense(4), nn.LayerNorm(), nn.Sequential([nn.Dense(4), nn.relu]), nn.Dense(3)]
)


def test_modules_in_lists_have_the_initial_values_of_the_user():
    """As it is, and with its norms exchanged: by tuples in the place of lists."""
    key, x = jax.random.key(0), jnp.asarray(INPUTS)
    expected = SEQUENTIAL.init(key, x)["params"]
    for exchange in (False, True):
        norm = layers.NORMS["batch"]
        made = own_model(SEQUENTIAL, num_classes=3, norm=norm, exchange=exchange)
        assert hash(made) == hash(made.clone())
        params = made.init(key, x, train=False)["params"]
        jax.tree.map(np.testing.assert_array_equal, expected, params)


class Shared(nn.Module):
    layers: list
    again: nn.Module

    @nn.compact
    def __call__(self, x):
        for layer in (*self.layers, self.again):
            x = layer(x)
        return x


def test_a_module_that_is_used_twice_keeps_one_set_of_parameters():
    layer = nn.Sequential([nn.Dense(6)])
    made = own_model(Shared([layer, nn.Dense(6)], layer), num_classes=6)
    params = made.init(jax.random.key(0), jnp.asarray(INPUTS), train=False)["params"]
    assert len(jax.tree.leaves(params)) == 2 * 2


class Named(nn.Module):
    """Has the factors as fields."""

    norm: str
    depth: int = 1
    placement: str = "pre"
    num_classes: int = 7

    @nn.compact
    def __call__(self, x, dropout_rate, train):
        normalizer = layers.normalizers(layers.norm_named(self.norm))
        for i in range(self.depth):
            x = normalizer(name=f"norm_{i}")(nn.Dense(4)(x), train=train)
        x = layers.Dropout()(nn.relu(x), dropout_rate, train=train)
        return nn.Dense(self.num_classes)(x)


def test_factors_set_the_fields_of_their_name():
    arms = {"norm": ("none", "weight", "rms"), "depth": (1, 2), "penalty": ("dropout",)}
    made = study(Named, arms=arms, settings={"dropout_rate": (0.1, 0.5)})
    modules = [x.program.model.module for x in made.arms]
    levels = [(n, d) for n in arms["norm"] for d in arms["depth"]]
    assert [(x.norm, x.depth) for x in modules] == levels
    assert {x.num_classes for x in modules} == {3}
    shapes = [len(x.settings["dropout_rate"]) for x in made.arms]
    assert shapes == [2] * 6


class Subclass(models.MLP):
    """A model of normjax' kind, of the user's."""


def test_a_subclass_of_a_model_of_normjax_gets_its_fields():
    arms = {"norm": ("none", "weight"), "placement": ("pre", "post")}
    theirs = study(Subclass, arms=arms, model={"widths": (4, 4)})
    mine = study(arms=arms, model={"widths": (4, 4)})
    for a, b in zip(theirs.arms, mine.arms, strict=True):
        for name in models.MLP.__dataclass_fields__.keys() - {"parent", "name"}:
            pair = (a.program.model.module, b.program.model)
            assert getattr(pair[0], name) == getattr(pair[1], name)


class OfNnx(nnx.Module):
    def __init__(self, features, *, rngs):
        self.first = nnx.Linear(6, features, rngs=rngs)
        self.norm = nnx.BatchNorm(features, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(features, 3, rngs=rngs)

    def __call__(self, x, deterministic=False):
        x = self.norm(self.first(x), use_running_average=deterministic)
        return self.last(self.dropout(nnx.relu(x), deterministic=deterministic))


def test_a_module_of_nnx_trains_through_its_bridge():
    """Vmapped and mapped: lanes agree to rounding, and its statistics move."""
    model = nnx.bridge.to_linen(OfNnx, 4)
    found = [run(given=model, mapping=mapping) for mapping in ("vmap", "map")]
    (arm,) = found[0].record["arm_order"]
    curves = [x.curves[f"{arm}/train_loss"] for x in found]
    assert np.isfinite(curves[0]).all()
    np.testing.assert_allclose(*curves, rtol=1e-5)
    variables = found[0].variables(arm, seed=0)
    assert np.asarray(variables["batch_stats"]["norm"]["mean"]).any()
    model.apply(variables, INPUTS, deterministic=True)


TYPED = """
import flax.linen as nn
class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return {factor} * nn.Dense(3)(x)
"""


def test_a_module_typed_in_a_notebook_is_known_by_its_code():
    ids = []
    for factor in (1, 1, 2):
        scope = {"__name__": "typed_in_a_notebook"}
        exec(TYPED.format(factor=factor), scope)
        ids.append(study(scope["Net"]()).arms[0].id)
    assert ids[0] == ids[1] != ids[2]


LAB = """
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

def descent(learning_rate: float = 0.1, damping: float = 0.5):
    return optax.sgd(learning_rate, damping)

def falling(step, *, learning_rate, num_steps, power: float = 1.0):
    return learning_rate * (1 - step / num_steps) ** power

def noisy(key, images):
    return images + 0.1 * jax.random.normal(key, images.shape)

class Halved(nn.Module):
    def __call__(self, x):
        return x / 2

class Net(nn.Module):
    features: tuple
    num_classes: int

    @nn.compact
    def __call__(self, x, *, training):
        x = x.reshape(len(x), -1)
        for width in self.features:
            x = nn.Dense(width)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not training)(x))
        return nn.Dense(self.num_classes)(x)
"""


def test_what_a_user_brings_from_a_folder_outside_of_the_checkout(tmp_path):
    """Model, norm, data, optimizer, schedule and augmentation.

    By name on the command line, and the same networks from Python.
    """
    (tmp_path / "my_lab.py").write_text(LAB)
    x, y = INPUTS.reshape(40, 2, 3), ROWS % 3  # images, for the augmentation
    parts = {"train": slice(40), "validation": slice(9, 20), "test": slice(9)}
    data = {f"x_{name}": x[rows] for name, rows in parts.items()}
    data |= {f"y_{name}": y[rows] for name, rows in parts.items()}
    np.savez(tmp_path / "own.npz", **data)
    flags = {
        "model.name": "my_lab.Net",
        "model.kwargs.features": "(5, 4)",
        "data.name": tmp_path / "own.npz",
        "arms.norm": "none,my_lab.Halved",
        "arms.optimizer": "my_lab.descent",
        "schedule": "my_lab.falling",
        "augmentation": "my_lab.noisy",
        "settings_for.optimizer['my_lab.descent'].damping": "(0.0, 0.5)",
        "settings.learning_rate": "(0.1,)",
        "batch_size": 8,
    }
    workdir = tmp_path / "runs"
    config = "--config=configs/quickstart.py:size=smoke"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ran = subprocess.run(
        [sys.executable, "launch.py", config, f"--workdir={workdir}"]
        + [f"--config.{field}={value}" for field, value in flags.items()],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path, "XLA_FLAGS": FLAGS},
    )
    assert ran.returncode == 0, ran.stderr
    record = normjax.load(workdir)
    assert record.record["arm_order"] == ["none", "my_lab.Halved"]
    assert {"damping", "power"} < set(record.networks)
    assert record.networks["train_loss"].nunique() == 2 * 2 * 2  # norms, grid, seeds
    assert record.record["num_examples"] == {"train": 40, "validation": 11, "test": 9}
    kwargs = json.loads((workdir / "config.json").read_text())["model"]["kwargs"]
    assert kwargs == {"features": [5, 4]}
    sys.path.insert(0, str(tmp_path))
    try:
        lab = importlib.import_module("my_lab")
        again = plan.study(record.config)
        chosen = record.config["model"] | {"kwargs": {}}
        mine = plan.study(
            record.config | {"model": chosen},
            model=lab.Net((5, 4), 3),
            data=data,
        )
    finally:
        sys.path.remove(str(tmp_path))
    ids = [record.record["arms"][x]["id"] for x in record.record["arm_order"]]
    assert ids == [arm.id for arm in again.arms] == [arm.id for arm in mine.arms]
    sys.modules.pop("my_lab")
    with pytest.raises(InputError) as caught:
        plan.study(record.config | {"schedule": "constant"})
    assert str(caught.value) == (
        "model.name='my_lab.Net': must be importable (ModuleNotFoundError: No module"
        " named 'my_lab'); put its folder on PYTHONPATH, or use one of cnn, mlp,"
        " resnet20."
    )


class Halves(nn.Module):
    """A norm that loses every second example."""

    def __call__(self, x):
        return x[::2]


def called(function, **fields):
    """A module whose call is this function."""
    held = {
        "__call__": nn.compact(function),
        "__annotations__": dict.fromkeys(fields, object),
    }
    return type("Wrong", (nn.Module,), {**held, **fields, "__module__": __name__})()


class Step(nn.Module):
    """A norm after a layer, for a scan over layers."""

    @nn.compact
    def __call__(self, x, _):
        return nn.LayerNorm()(nn.Dense(6)(x)), None


Scanned = nn.scan(
    Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=2
)
noise = jax.random.normal
WRONG = f"<{__name__}.Wrong>"
MISTAKES = {
    "classes": (
        Own(num_classes=5),
        {},
        f"model.name='<{__name__}.Own>': must return logits, floats[8, 3], for the data"
        " has 3 classes, not float32[8, 5]; let its last layer have 3.",
    ),
    "pair": (
        called(lambda self, x: (nn.Dense(3)(x), x)),
        {},
        f"model.name='{WRONG}': must return logits, floats[8, 3], for the data has 3"
        " classes, not tuple; return one array of floats, [batch, 3].",
    ),
    "branch": (
        called(lambda self, x: nn.Dense(3)(x) if x.sum() > 0 else nn.Dense(3)(-x)),
        {},
        f"model.name='{WRONG}': must work on traced numbers (TracerBoolConversionError:"
        " Attempted boolean conversion of traced array with shape bool[]); let it"
        " choose by jax.numpy.where in place of `if`.",
    ),
    "argument": (
        called(lambda self, x, mask: nn.Dense(3)(x)),
        {},
        f"model.name='{WRONG}': cannot be used with batch_size=8 (TypeError:"
        " <lambda>() missing 1 required positional argument: 'mask'); mend it, or"
        " choose another.",
    ),
    "field": (
        called(lambda self, x: nn.Dense(3)(x), train=True),
        {},
        f"model.name='{WRONG}': must take train as an argument of its call, not as a"
        " field; write def __call__(self, x, *, train).",
    ),
    "array": (
        Shared([nn.Dense(3)], np.ones(3)),
        {},
        f"model.name='<{__name__}.Shared>': must have fields that can be hashed, as"
        " programs are known by them; keep numbers, texts, tuples and functions in"
        " them, and no"
        " arrays.",
    ),
    "no parameters": (
        called(lambda self, x: x[:, :3]),
        {},
        f"model.name='{WRONG}': must have parameters to train; give it a layer.",
    ),
    "grows": (
        called(lambda self, x: [self.sow("losses", "x", 1.0), nn.Dense(3)(x)][1]),
        {},
        f"model.name='{WRONG}': must keep the shapes and dtypes of its statistics and"
        " turns 'losses.x.1' from nothing into float32[]; let each array keep its shape"
        " and its dtype.",
    ),
    "no norm": (
        called(lambda self, x: nn.Dense(3)(x)),
        {"arms": NORMS},
        f"model.name='{WRONG}': must call a norm of flax.linen (BatchNorm, LayerNorm,"
        " RMSNorm, GroupNorm, InstanceNorm) or of normjax; build it with such a norm"
        " first, or leave out arms.norm.",
    ),
    "norm in a bridge of nnx": (
        nnx.bridge.to_linen(OfNnx, 4),
        {"arms": NORMS},
        "arms.norm='none': cannot be put into OfNnx, for norms of flax.nnx cannot be"
        " exchanged; leave arms.norm out, or write it in flax.linen.",
    ),
    "another stream of keys": (
        called(lambda self, x: nn.Dense(3)(x) + noise(self.make_rng("noise"))),
        {},
        f"model.name='{WRONG}': cannot be used with batch_size=8 (InvalidRngError: None"
        ' needs PRNG for "noise" (https://flax.readthedocs.io/en/latest/api_reference'
        "/flax.errors.html#flax.errors.InvalidRngError)); draw from dropout where it"
        " trains, and at the start from params.",
    ),
    "dropout where it is evaluated": (
        called(lambda self, x, train: nn.Dropout(0.5)(nn.Dense(3)(x), False)),
        {},
        f"model.name='{WRONG}': cannot be used with batch_size=8 (InvalidRngError:"
        ' Dropout_0 needs PRNG for "dropout" (https://flax.readthedocs.io/en/latest/'
        "api_reference/flax.errors.html#flax.errors.InvalidRngError)); draw from"
        " dropout where it trains, and at the start from params.",
    ),
    "norm in a scan that passes on no statistics": (
        called(lambda self, x: nn.Dense(3)(Scanned()(x, None)[0])),
        {"arms": {"norm": ("batch",)}},
        f"model.name='{WRONG}': cannot be used with norm=batch and batch_size=8"
        ' (ScopeCollectionNotFound: Tried to access "mean" from collection'
        ' "batch_stats" in "/scan(ScanStep_0)/LayerNorm_0" but the collection is empty.'
        " (https://flax.readthedocs.io/en/latest/api_reference/flax.errors.html"
        "#flax.errors.ScopeCollectionNotFound)); let nn.scan and other lifted"
        " transforms pass on batch_stats, or choose another.",
    ),
    "kwargs that do not fit": (
        Own,
        {"model": {"kwargs": {"width": "abc"}}},
        f"model.name='<{__name__}.Own>': cannot be used with batch_size=8 and"
        " model.kwargs={'width': 'abc'} (TypeError: Shapes must be 1D sequences of"
        " concrete values of integer type, got (6, 'abc')); mend it, or choose"
        " another.",
    ),
    "kwargs of what is made": (
        Own(),
        {"model": {"kwargs": {"width": 3}}},
        f"model.kwargs={{'width': 3}}: must be empty for <{__name__}.Own>, for it is a"
        " module that is made already; set them where it is made, or give its class.",
    ),
    "norm of kernels": (
        Own(),
        {"arms": {"norm": ("weight",)}},
        "arms.norm='weight': must be a norm of activations, which a model calls, and"
        " not of kernels; use layers.Dense(kernel_norm=...) in the model.",
    ),
    "norm that owns its activation": (
        Own(),
        {"arms": {"norm": ("evonorm_s0",)}},
        "arms.norm='evonorm_s0': must be a norm alone, for the model's activation would"
        " follow its own; build the model with this layer in the place of norm and"
        " activation.",
    ),
    "placement": (
        Own(),
        {"arms": {"placement": ("post",)}},
        f"arms.placement='post': needs a model with a field placement, and"
        f" <{__name__}.Own> has none; give it one, or leave arms.placement out.",
    ),
    "dropout": (
        Own(),
        {"arms": {"penalty": ("dropout",)}},
        "arms.penalty='dropout': needs a model that is called with dropout_rate, and"
        " Own is not; let its call take dropout_rate, or use the penalty none.",
    ),
    "scale": (
        Own(),
        {"settings": {"init_scale": (1.0, 2.0)}},
        "settings.init_scale=2.0: must be 1, for Own has no field kernel_init, which it"
        " scales; give it one, or leave the setting out.",
    ),
    "biases": (
        SameAsMLP(),
        {"arms": {"kernel_init": ("he_normal", "torch_default")}},
        "arms.kernel_init='torch_default': draws biases too, which a model of normjax"
        " only knows to do; choose another, or let the model inherit from"
        " normjax.models.Model.",
    ),
    "norm of a user's": (
        Own(),
        {"arms": {"norm": (f"{__name__}.Halves",)}},
        f"arms.norm='{__name__}.Halves': must return floats in the shape of its input,"
        " float32[8, 4], not float32[4, 4]; return one output per input.",
    ),
    "kwargs": (
        Own,
        {"model": {"kwargs": {"widht": 3}}},
        f"model.kwargs.widht: must be a field of <{__name__}.Own>, which has width,"
        " num_classes; did you mean 'width'?",
    ),
    "kwargs that are missing": (
        Shared,
        {},
        f"model.kwargs: must give layers, again, for which <{__name__}.Shared> has no"
        " default; set model.kwargs.layers.",
    ),
    "kwargs that a factor sets": (
        Named,
        {"arms": {"norm": ("none", "rms")}, "model": {"kwargs": {"norm": "rms"}}},
        "model.kwargs.norm='rms': must be left out, for arms.norm sets it; name its"
        " levels in arms.norm.",
    ),
    "kwargs of a model of normjax": (
        None,
        {"model": {"kwargs": {"width": 3}}},
        "model.kwargs={'width': 3}: must be empty for mlp, for they are of a user's"
        " model; name a field of normjax' own models, such as model.widths.",
    ),
    "another model": (
        Own(),
        {"arms": {"model": ("mlp", "cnn")}},
        "arms.model=('mlp', 'cnn'): must be empty where a model is given, for that is"
        " the only one; set arms.model=(), or name the model in it.",
    ),
    "nnx": (
        OfNnx,
        {},
        "model: must be a module of flax.linen or its class, not OfNnx; wrap it:"
        " flax.nnx.bridge.to_linen(OfNnx, ...).",
    ),
    "no module": (
        3,
        {},
        "model: must be a module of flax.linen or its class, not int; write it in"
        " flax.linen.",
    ),
    "name of no module": (
        None,
        {"model": {"name": "numpy.ones"}},
        "model.name='numpy.ones': must be a module of flax.linen or its class, not"
        " function; write it in flax.linen.",
    ),
    "an object of before": (
        None,
        {"model": {"name": "<my_lab.Net>"}},
        "model.name='<my_lab.Net>': must be given as it was, as an object, for it was"
        " not named; call normjax.run(config, model=...), or name an importable class.",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_with_one_line(name):
    model, choices, expected = MISTAKES[name]
    with pytest.raises(InputError) as caught:
        study(model, **choices)
    assert str(caught.value) == expected


def test_what_is_no_config():
    with pytest.raises(normjax.InputError) as caught:
        normjax.run(None)
    told = "config: must be a config, not NoneType; make it with normjax.config(...)."
    assert str(caught.value) == told


def test_fields_of_models_of_normjax_that_are_not_used_are_notices():
    made = study(Own(), model={"widths": (3,)})
    assert made.notices == (
        f"model.widths=(3,) is not used, for <{__name__}.Own> is no model of normjax;"
        " its fields are set by model.kwargs",
    )


def test_a_model_in_the_place_of_the_folder_is_refused():
    with pytest.raises(InputError) as caught:
        check_path(nn.Dense(3))
    assert str(caught.value) == (
        "workdir: must be the path of a folder, not of Dense; give others by name:"
        " normjax.run(config, model=..., data=...)."
    )


class Told(nn.Module):
    """Takes whether it trains among any keywords; `Untold` by a name of its own."""

    @nn.compact
    def __call__(self, x, **options):
        assert set(options) == {"train"}
        x = nn.BatchNorm(use_running_average=not options["train"])(nn.Dense(3)(x))
        return nn.Dropout(0.5, deterministic=not options["train"])(x)


class Untold(nn.Module):
    @nn.compact
    def __call__(self, x, is_train=False):
        x = nn.BatchNorm(use_running_average=not is_train)(nn.Dense(3)(x))
        return nn.Dropout(0.5, deterministic=not is_train)(x)


def test_a_model_is_told_whether_it_trains_or_refused():
    model = own_model(Told(), num_classes=3)
    x = jnp.asarray(INPUTS)
    variables = model.init(jax.random.key(0), x, train=False)
    options = {"mutable": ["batch_stats"], "rngs": {"dropout": jax.random.key(1)}}
    trained, _ = model.apply(variables, x, train=True, **options)
    evaluated, _ = model.apply(variables, x, train=False, **options)
    assert (np.asarray(trained) == 0).any()
    assert not (np.asarray(evaluated) == 0).any()
    assert study(Told()).arms
    with pytest.raises(InputError) as caught:
        study(Untold())
    assert str(caught.value) == (
        "model.name='<test_own_model.Untold>': must take an argument that says whether"
        " it trains, for it calls BatchNorm and Dropout; let its call take one of"
        " train, training, is_training, deterministic, use_running_average."
    )
