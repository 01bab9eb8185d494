"""What a user gets wrong ends in one line that names it, before anything is written."""

import copy
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import warnings

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
from absl import flags

import normjax
from normjax.errors import InputError
from normjax.files import flat
from normjax.optimizers.recipes import RECIPES
from normjax.study import command_line, levels, plan
from normjax.study.config import DEFAULTS
from normjax.training import devices

ROOT = pathlib.Path(__file__).parents[1]
QUICK = "--config=configs/quickstart.py:size=smoke"
WORKDIR = "--workdir=runs/never"
# ml_collections loads a config in a way that Python will give up
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def answer(monkeypatch, capsys):
    """`answer(*flags)`: exit code, stdout and stderr of the launcher up to the plan."""
    monkeypatch.chdir(ROOT)

    def answered(*given: str) -> tuple[int, str, str]:
        argv = ["launch.py", *given]
        monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
        monkeypatch.setattr(sys, "argv", argv)
        code = 0
        try:
            command_line.parse(argv)
            plan.study(flags.FLAGS["config"].value)
        except InputError as error:
            code = 2
            print(command_line.line(error), file=sys.stderr)
        except SystemExit as stopped:
            code = stopped.code
        return code, *capsys.readouterr()

    return answered


KNOWN = "must be one of the fields of launch.py --list=fields"
GIVE = "name a file with get_config(), such as configs/quickstart.py."
OPTIMIZERS = ", ".join(sorted(RECIPES))
GRID = tuple(i / 100_000 for i in range(50_001))  # times two seeds
FLAGS = {
    "config twice": (
        [QUICK, QUICK, WORKDIR],
        "--config: must be given once; leave one of them out.",
    ),
    "workdir twice": (
        [QUICK, WORKDIR, WORKDIR],
        "--workdir: must be given once; leave one of them out.",
    ),
    "workdir of nobody": (
        [QUICK, "--workdir=~no-such-user/x"],
        "--workdir='~no-such-user/x': must be in the home folder of a user, and there"
        " is none; write it in full.",
    ),
    "flagfile": (
        [QUICK, WORKDIR, "--flagfile=/nope"],
        "ERROR:: Unable to open flagfile: [Errno 2] No such file or directory: '/nope'",
    ),
    "too many epochs": (
        [QUICK, WORKDIR, "--config.num_epochs=99999999999999999999"],
        "--config.num_epochs=99999999999999999999: must be from 1 to 1000000;"
        " set num_epochs=10.",
    ),
    "too wide to count": (
        [QUICK, WORKDIR, "--config.model.widths=(99999999999999999999,)"],
        "--config.model.widths=(99999999999999999999,): must be one or more whole"
        " numbers from 1 to 2^31 - 1; set model.widths=(128, 128).",
    ),
    "too wide": (
        [QUICK, WORKDIR, "--config.model.widths=(1000000000,)"],
        "--config.model.widths=(1000000000,): must give at most 2^31 - 1 parameters,"
        " not 75,000,000,010; make it narrower.",
    ),
    "kernel": (
        [QUICK, WORKDIR, "--config.model.kernel_size=1000001"],
        "--config.model.kernel_size=1000001: must be odd, from 1 to 999;"
        " set model.kernel_size=3.",
    ),
    "resnet20 of two stages": (
        [
            *(QUICK, WORKDIR, "--config.model.name=resnet20"),
            "--config.model.widths=(128,128)",
        ],
        "--config.model.widths=(128, 128): must be three, one for each stage of"
        " ResNet-20; set model.widths=(16, 32, 64).",
    ),
    "field of another group": (
        [QUICK, WORKDIR, "--config.learning_rate=0.1"],
        f"--config.learning_rate: {KNOWN}; did you mean 'settings.learning_rate'?",
    ),
    "field that a factor has": (
        [QUICK, WORKDIR, "--config.optimizer=adam"],
        f"--config.optimizer: {KNOWN}; did you mean 'arms.optimizer'?",
    ),
    "argument of a file": (
        [QUICK, WORKDIR, "--config.size=smoke"],
        "--config.size: must be given with the file, for it chooses several fields;"
        " write --config=configs/quickstart.py:size=smoke.",
    ),
    "one more argument of a file": (
        [f"{QUICK},dataset=mnist", WORKDIR, "--config.size=full"],
        "--config.size: must be given with the file, for it chooses several fields;"
        " write --config=configs/quickstart.py:dataset=mnist,size=full.",
    ),
    "an argument of a file in the next word": (
        [QUICK, WORKDIR, "--config.dataset", "mnist"],
        "--config.dataset: must be given with the file, for it chooses several fields;"
        " write --config=configs/quickstart.py:size=smoke,dataset=mnist.",
    ),
    "an argument of a file that is the next word": (
        ["--config", "configs/norms.py:dataset=mnist", WORKDIR, "--config.size=smoke"],
        "--config.size: must be given with the file, for it chooses several fields;"
        " write --config=configs/norms.py:dataset=mnist,size=smoke.",
    ),
    "an argument without a value": (
        [QUICK, "--config.size", WORKDIR],
        "--config.size: must be given with the file, for it chooses several fields;"
        " write --config=configs/quickstart.py:size=VALUE.",
    ),
    "an argument where the file is the config of a record": (
        ["--config=docs/results/resnet/config.json", "--config.dataset=mnist", WORKDIR],
        f"--config.dataset: {KNOWN}; did you mean 'data.name'?",
    ),
    "no workdir": (
        ["--config=configs/norms.py:size=smoke"],
        "--workdir: must be given; add --workdir=runs/norms.",
    ),
    "no workdir for the config of a record": (
        ["--config=docs/results/resnet/config.json"],
        "--workdir: must be given; add --workdir=runs/resnet.",
    ),
    "field by another name": (
        [QUICK, WORKDIR, "--config.lr=0.1"],
        f"--config.lr: {KNOWN}; did you mean 'settings.learning_rate'?",
    ),
    "field of no group in one": (
        [QUICK, WORKDIR, "--config.data.batch_size=3"],
        "--config.data.batch_size: must be one of the fields name, subset,"
        " num_validation, scaling, num_test, num_train, dir;"
        " did you mean 'batch_size'?",
    ),
    "optimizer of optax": (
        [QUICK, WORKDIR, "--config.arms.optimizer=sgd,adabelief"],
        f"--config.arms.optimizer='adabelief': must be one of {OPTIMIZERS}, or a dotted"
        " name; did you mean 'optax.adabelief'?",
    ),
    "norm of flax": (
        [QUICK, WORKDIR, "--config.arms.norm=none,groupnorm"],
        "--config.arms.norm='groupnorm': must be one of"
        f" {', '.join(sorted(normjax.layers.NORMS))}, or a dotted name;"
        " did you mean 'flax.linen.GroupNorm'?",
    ),
    "level before the baseline that it replaces": (
        [QUICK, WORKDIR, "--config.arms.norm=grop"],
        "--config.arms.norm='grop': must be one of"
        f" {', '.join(sorted(normjax.layers.NORMS))}; did you mean 'group'?",
    ),
    "folder of a record": (
        ["--config={tmp}/run", WORKDIR],
        "--config={tmp}/run: must be a file; add --config={tmp}/run/config.json.",
    ),
    "record in the place of a config": (
        ["--config={tmp}/run/record.json", WORKDIR],
        "--config={tmp}/run/record.json: must hold a config; name the config.json of a"
        " record.",
    ),
    "JSON that is none": (
        ["--config={tmp}/broken.json", WORKDIR],
        "--config={tmp}/broken.json: must hold a config, and is damaged (Expecting"
        " property name enclosed in double quotes: line 1 column 2 (char 1)); name the"
        " config.json of a record.",
    ),
    "lanes": (
        [QUICK, WORKDIR, f"--config.settings.momentum={GRID}"],
        "--config.settings: must make at most 100,000 lanes in an arm, with the seeds;"
        " ask for fewer settings or seeds, for these make 100,002.",
    ),
    "arms": (
        [QUICK, WORKDIR, f"--config.arms.batch_size={tuple(range(2, 253))}"],
        "--config.arms: must make at most 1,000 combinations, for each is compiled;"
        " leave out levels, for these make 1,004.",
    ),
    "audit": (
        [QUICK, WORKDIR, "--config.audit=normjax.nope"],
        "--config.audit='normjax.nope': must be importable (ModuleNotFoundError: No"
        " module named 'normjax.nope'); put its folder on PYTHONPATH, or leave the"
        " field empty.",
    ),
    "audit without sections": (
        [QUICK, WORKDIR, "--config.audit=json"],
        "--config.audit='json': must be a module with a function sections(record);"
        " see normjax/report/audit_interface.py.",
    ),
    "group that no config has": (
        [QUICK, WORKDIR, "--config.tunning.search=grid"],
        f"--config.tunning: {KNOWN}; did you mean 'tuning'?",
    ),
    "field that no config has": (
        [QUICK, WORKDIR, "--config.num_seed=3"],
        f"--config.num_seed: {KNOWN}; did you mean 'num_seeds'?",
    ),
    "field in a field": (
        [QUICK, WORKDIR, "--config.num_seeds.x=3"],
        "--config.num_seeds.x: must be a field, and num_seeds is no group of fields;"
        " set --config.num_seeds.",
    ),
    "level that no optimizer has": (
        [QUICK, WORKDIR, "--config.settings_for.optimizer.adamm.learning_rate=1"],
        f"--config.settings_for.optimizer='adamm': must be one of {OPTIMIZERS};"
        " did you mean 'adam'?",
    ),
    "name with dots in braces": (
        [
            *(QUICK, WORKDIR, "--config.arms.optimizer=sgd,optax.lion"),
            "--config.settings_for={'optimizer': {'optax.lion': {'b1': (0.8, 0.9)}}}",
        ],
        "--config.settings_for: must have no name with dots in braces; write"
        " --config.settings_for.optimizer'[\"optax.lion\"]'.b1='(0.8, 0.9)'.",
    ),
    "number as a name": (
        [QUICK, WORKDIR, "--config.settings_for.batch_size.32.learning_rate=1"],
        "--config.settings_for.batch_size.32.learning_rate: must be names joined by"
        " dots, and other names in brackets and quotes; write it as"
        " settings_for.batch_size['32'].learning_rate.",
    ),
    **{
        f"{factor} {name}": (
            [QUICK, WORKDIR, f"--config.arms.{factor}={name}"],
            f"--config.arms.{factor}={name!r}: must be names joined by dots, such as"
            " my_package.MyNorm; use one of ",
        )
        for factor in ("norm", "optimizer")
        for name in ("..", "../../x", ".a", "a.", "a..b", "a-b.c")
    },
}


@pytest.mark.parametrize("name", FLAGS)
def test_wrong_flags(answer, name, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    record = {"study": "made", "config": {}, "arm_order": []}
    (tmp_path / "run" / "record.json").write_text(json.dumps(record))
    (tmp_path / "broken.json").write_text("{")
    given, expected = FLAGS[name]
    expected = expected.replace("{tmp}", str(tmp_path))
    code, printed, told = answer(*(x.replace("{tmp}", str(tmp_path)) for x in given))
    assert (code, printed) == (2, "")
    if expected.endswith("use one of "):  # and the whole table
        assert told.startswith(expected)
        assert told.count("\n") == 1
    else:
        assert told == f"{expected}\n"


def test_flags_in_other_spellings(answer):
    assert answer("-config", QUICK.partition("=")[2], "--workdir", "x") == (0, "", "")


def test_a_field_in_groups_that_a_config_has_not_got(answer):
    groups = "batch_size['32']", "batch_size['64']"
    given = [f"--config.settings_for.{x}.learning_rate=(0.01,1.0)" for x in groups]
    protocol = "--config.protocols.published.norm.batch=layer"
    levels = "--config.arms.batch_size=(32,64)"
    assert answer(QUICK, WORKDIR, *given, protocol, levels) == (0, "", "")
    config = flags.FLAGS["config"].value.to_dict()
    grid = {"learning_rate": (0.01, 1.0)}
    assert config["settings_for"] == {"batch_size": {"32": grid, "64": grid}}
    assert config["protocols"] == {"published": {"norm": {"batch": "layer"}}}


def test_a_model_of_the_command_line_has_its_own_shape(answer):
    """The file's widths are for its model; what the command line sets stays."""
    resnet = "--config.model.name=resnet20"
    assert answer(QUICK, WORKDIR, resnet) == (
        0,
        "notice: model.widths=(16, 32, 64), as is usual for resnet20: the file's are"
        " for mlp\n",
        "",
    )
    assert flags.FLAGS["config"].value.model.widths == (16, 32, 64)
    own = "--config.model.widths=(4,8,16)"
    assert answer(QUICK, WORKDIR, resnet, own) == (0, "", "")
    assert flags.FLAGS["config"].value.model.widths == (4, 8, 16)
    assert answer(QUICK, WORKDIR, "--config.model.name=mlp") == (0, "", "")
    assert normjax.config(model={"name": "resnet20"}).model.widths == (16, 32, 64)
    assert normjax.config(model={"name": "cnn"}).model.widths == (16, 32)
    assert normjax.config().model.widths == (128, 128)


def test_the_config_of_a_record_is_run_again(answer, tmp_path):
    """To the same arms; an override lies on top of it."""
    path = tmp_path / "config.json"
    arms = {"norm": ("none", "batch")}
    first = plan.study(
        normjax.config(num_seeds=2, arms=arms, baseline={"norm": "none"})
    )
    path.write_text(json.dumps(first.config))
    assert answer(f"--config={path}", WORKDIR) == (0, "", "")
    again = plan.study(flags.FLAGS["config"].value)
    assert [arm.id for arm in again.arms] == [arm.id for arm in first.arms]
    assert again.config == first.config
    given = "--config.arms.norm=layer,none", "--config.num_seeds=3"
    assert answer(f"--config={path}", WORKDIR, *given) == (0, "", "")
    other = plan.study(flags.FLAGS["config"].value)
    assert [arm.name for arm in other.arms] == ["layer", "none"]
    assert other.arms[1].id == first.arms[0].id
    assert (len(other.seeds), other.baseline) == (3, {"norm": "none"})
    assert plan.study(normjax.config(**json.loads(path.read_text()))).config == (
        first.config
    )


def test_a_baseline_that_was_removed_is_left_out(answer):
    given = QUICK, WORKDIR, "--config.arms.norm=group,batch"
    assert answer(*given) == (0, "", "")
    study = plan.study(flags.FLAGS["config"].value)
    assert study.baseline == {}
    left_out = "baseline.norm='none' is left out, for it is not in arms.norm"
    assert study.notices == (left_out,)
    assert answer(*given, "--config.baseline.norm=batch") == (0, "", "")
    study = plan.study(flags.FLAGS["config"].value)
    assert (study.baseline, study.notices) == ({"norm": "batch"}, ())


SOURCES = {  # a config file -> what follows `--config=PATH: `
    "raise RuntimeError": f"must be loadable (RuntimeError); {GIVE}",
    "assert False": f"must be loadable (AssertionError); {GIVE}",
    "raise OSError('x')": "must be loadable (OSError: Configuration is not available"
    f" because of an earlier failure to load: x); {GIVE}",
    "def get_config(): return get_config()": "must be loadable (RecursionError: maximum"
    f" recursion depth exceeded); {GIVE}",
    "raise SystemExit(0)": f"must be loadable (SystemExit: 0); {GIVE}",
    "quit()": f"must be loadable (SystemExit: None); {GIVE}",
    "class E(BaseException): pass\nraise E('a\\nb')": "must be loadable (E: a);"
    f" {GIVE}",
    "raise KeyError('\\udcff')": f"must be loadable (KeyError: '\\udcff'); {GIVE}",
    "class E(Exception):\n  def __str__(self): 1 / 0\nraise E": "must be loadable (E);"
    f" {GIVE}",
    **{
        f"get_config = lambda: {value}": "must return a config from get_config, not"
        f" {kind}; return normjax.config(...)."
        for value, kind in {
            "None": "NoneType",
            "3": "int",
            "'text'": "str",
            "()": "tuple",
            "int": "type",
        }.items()
    },
}


@pytest.mark.parametrize("source", SOURCES)
def test_wrong_config_files(answer, source, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(source)
    told = f"--config={path}: {SOURCES[source]}\n"
    assert answer(f"--config={path}", WORKDIR) == (2, "", told)


def test_a_frozen_config_is_a_config():
    frozen = ml_collections.FrozenConfigDict(normjax.config(num_seeds=2))
    assert len(plan.study(frozen).seeds) == 2


WRONG = (None, "..", "", "\udcff", -1, 1.5, 10**400, math.nan, (), ((),), ("a", 1))
WRONG += ({}, {"a": 1}, {3: 1}, b"x", 1j, object(), {1, 2}, iter("a"), True)


@pytest.mark.parametrize("field", [*DEFAULTS, *flat(DEFAULTS)])
def test_no_value_of_a_field_gives_a_traceback(field):
    """Each either makes a study or is refused by an InputError of one line."""
    for wrong in WRONG:
        choices = copy.deepcopy(DEFAULTS) | {"num_seeds": 2, "num_epochs": 1}
        choices["model"]["widths"] = (4,)
        *groups, name = field.split(".")
        inner = choices[groups[0]] if groups else choices
        inner[name] = wrong
        told = ""
        try:
            plan.study(choices)
        except InputError as error:
            told = str(error)
        assert "\n" not in told, (field, wrong)


def test_a_field_that_is_missing():
    for field in DEFAULTS:
        choices = {k: v for k, v in DEFAULTS.items() if k != field}
        with pytest.raises(InputError, match="must be given; make the config with"):
            plan.study(choices)


def norm(function):
    """A user's norm that computes this."""

    class Wrong(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return function(self, x, train)

    return Wrong


def raising(error):
    """A function that raises an error."""

    def raises(*_):
        raise error

    return raises


def statistics(new):
    """A norm that turns its statistic of one float into something else."""

    def call(self, x, train):
        kept = self.variable("batch_stats", "m", lambda: jnp.zeros(()))
        if train:
            kept.value = new
        return x

    return norm(call)


@jax.custom_vjp
def backward_raises(x):
    """A user's op that fails where it is differentiated."""
    return x


backward_raises.defvjp(lambda x: (x, None), raising(ValueError("backward")))
to_host = lambda x: jax.pure_callback(lambda x: x, x, x)
Raises, Quits = norm(raising(KeyError("a"))), norm(raising(SystemExit(1)))
Scalar = norm(lambda self, x, train: jnp.mean(x))
Nothing = norm(lambda self, x, train: None)
Bools = norm(lambda self, x, train: x > 0)
Branches = norm(lambda self, x, train: x if x.sum() > 0 else -x)
Trains = norm(lambda self, x, train: x if not train else 1 / 0)
Evaluates = norm(lambda self, x, train: x if self.is_initializing() or train else 1 / 0)
Loops = norm(lambda self, x, train: jax.lax.while_loop(jnp.any, jnp.negative, x))
Backward = norm(lambda self, x, train: backward_raises(x))
Calls = norm(lambda self, x, train: to_host(x))
Grows, Turns = statistics(jnp.zeros((3,))), statistics(jnp.zeros((), jnp.int32))
HasKey = norm(lambda self, x, train: self.has_key(x))

SHAPE = "must return floats in the shape of its input, float32[32, 128], not"
USED = "cannot be used with batch_size=32"
MEND = "mend it, or choose another."
NORMS = {
    "Raises": f"{USED} (KeyError: 'a'); {MEND}",
    "Quits": f"{USED} (SystemExit: 1); {MEND}",
    "Scalar": f"{SHAPE} float32[]; return one output per input.",
    "Nothing": "must return an array like its input, float32[32, 128], not NoneType;"
    " return one output per input.",
    "Bools": f"{SHAPE} bool[32, 128]; return one output per input.",
    "Branches": "must work on traced numbers (TracerBoolConversionError: Attempted"
    " boolean conversion of traced array with shape bool[]); let it choose by"
    " jax.numpy.where in place of `if`.",
    "Trains": f"{USED} (ZeroDivisionError: division by zero); {MEND}",
    "Evaluates": f"{USED} (ZeroDivisionError: division by zero); {MEND}",
    "Backward": f"{USED} (ValueError: backward); {MEND}",
    "Grows": "must keep the shapes and dtypes of its statistics and turns"
    " 'batch_stats.norm_0.m' from float32[] into float32[3]; let each array keep its"
    " shape and its dtype.",
    "Turns": "must keep the shapes and dtypes of its statistics and turns"
    " 'batch_stats.norm_0.m' from float32[] into int32[]; let each array keep its"
    " shape and its dtype.",
    "Loops": f"{USED} (",
    "Calls": f"{USED} (",
    "HasKey": f"{USED} (",
}


def recipe(init=lambda params: (), update=lambda steps, state, params: (steps, state)):
    """A user's optimizer with these functions."""
    return lambda learning_rate=0.1: optax.GradientTransformation(init, update)


init_raises = recipe(init=raising(ValueError("a\nb")))
update_raises = recipe(update=raising(KeyError("k")))
recipe_raises = lambda learning_rate=0.1: {}["name"]
quits = lambda learning_rate=0.1: sys.exit(3)
sums = recipe(update=lambda steps, *rest: (jax.tree.map(jnp.sum, steps), ()))
forgets = recipe(update=lambda steps, *rest: ({}, ()))
returns_one = recipe(update=lambda steps, *rest: (steps,))
counts = recipe(lambda p: jnp.zeros((), int), lambda u, s, p: (u, s + 0.5))
has_key = recipe(lambda p: jax.random.key(0))
branches = recipe(update=lambda u, s, p: (u, s) if jnp.sum(u["logits"]["bias"]) else 0)
warns = lambda learning_rate=0.1: optax.noisy_sgd(learning_rate, key=0)

USED_WITH = "cannot be used with penalty=none"
NO_KEY = (
    "must keep no key of jax.random.key in its state; keep jax.random.key_data(key),"
    " and wrap it where it is used."
)
OPTIMIZERS = {
    "init_raises": f"{USED_WITH} (ValueError: a); {MEND}",
    "update_raises": f"{USED_WITH} (KeyError: 'k'); {MEND}",
    "recipe_raises": f"{USED_WITH} (KeyError: 'name'); {MEND}",
    "quits": f"{USED_WITH} (SystemExit: 3); {MEND}",
    "sums": "must keep the shapes and dtypes of its steps, which must be like the"
    " parameters, and turns 'dense_0.bias' from float32[128] into float32[]; let each"
    " array keep its shape and its dtype.",
    "forgets": "must keep the shapes and dtypes of its steps, which must be like the"
    " parameters, and turns 'dense_0.bias' from float32[128] into nothing; let each"
    " array keep its shape and its dtype.",
    "counts": "must keep the shapes and dtypes of its state and turns '0' from int32[]"
    " into float32[]; let each array keep its shape and its dtype.",
    "has_key": NO_KEY,
    "warns": NO_KEY,
    "branches": "must work on traced numbers (TracerBoolConversionError: Attempted"
    " boolean conversion of traced array with shape float32[]); let it choose by"
    " jax.numpy.where in place of `if`.",
    "returns_one": f"{USED_WITH} (",
}


@pytest.mark.parametrize(
    ("factor", "name", "expected"),
    [
        *(("norm", *row) for row in NORMS.items()),
        *(("optimizer", *row) for row in OPTIMIZERS.items()),
    ],
)
def test_a_wrong_norm_or_optimizer_of_a_user(factor, name, expected):
    level = f"{__name__}.{name}"
    config = normjax.config(num_seeds=2, batch_size=32, arms={factor: level})
    with pytest.raises(InputError) as caught:
        plan.study(config)
    told = str(caught.value)
    assert len(told.splitlines()) == 1
    if expected.endswith("("):  # the rest is a library's own words
        assert told.startswith(f"arms.{factor}={level!r}: {expected}")
    else:
        assert told == f"arms.{factor}={level!r}: {expected}"


@pytest.mark.parametrize("name", ["chain", "noisy_sgd", "masked", "contrib.sophia"])
def test_functions_of_optax_that_are_no_optimizer_by_themselves(name):
    arms = {"optimizer": f"optax.{name}"}
    with pytest.raises(InputError) as caught:
        plan.study(normjax.config(arms=arms, settings={"learning_rate": 0.1}))
    assert caught.value.field in ("arms.optimizer", "settings.inner")


def test_a_damaged_cache_of_programs_is_mended_with_one_line(tmp_path):
    """Left alone, jax warns of every entry, at every start, for it replaces none."""
    code = """
import os, pathlib, sys
from normjax.training import devices
devices.configure()
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
folder = pathlib.Path(os.environ["NORMJAX_CACHE"]) / "xla"
for time in range(3):
    jax.clear_caches()
    for number in (1, 2):
        jax.jit(lambda x: x + number)(1.0)
    if time == 0:
        for path in folder.glob("*-cache"):
            path.write_bytes(path.read_bytes()[:50])
print(min(path.stat().st_size for path in folder.glob("*-cache")) > 50)
"""
    variables = dict(os.environ) | {"NORMJAX_CACHE": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=variables
    )
    assert ran.stdout == "True\n", ran.stderr
    assert ran.stderr == f"notice: {tmp_path / 'xla'} was damaged and is mended\n"


def test_other_warnings_are_shown_as_before(tmp_path):
    with warnings.catch_warnings(record=True, action="always") as caught:
        devices.replace_damaged(tmp_path)
        warnings.warn("another", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["another"]


STARTED = """
import os, runpy, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer(float(sys.argv.pop()), os.kill, (os.getpid(), signal.SIGINT)).start()
runpy.run_path("launch.py", run_name="__main__")
"""


@pytest.mark.parametrize("seconds", [0.1, 0.5])
def test_an_interruption_while_modules_load(seconds, tmp_path):
    flags = [QUICK, f"--workdir={tmp_path}/run", "--config.num_epochs=1000", seconds]
    ran = subprocess.run(
        [sys.executable, "-c", STARTED, *map(str, flags)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert ran.returncode == 128 + signal.SIGINT
    assert ran.stderr == "interrupted: the same command goes on\n"


def test_a_variable_that_jax_refuses_while_it_loads():
    ran = subprocess.run(
        [sys.executable, "launch.py", QUICK, WORKDIR],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(os.environ) | {"JAX_NUM_CPU_DEVICES": "abc"},
    )
    assert ran.returncode == 2
    assert ran.stderr == 'Invalid value "abc" for JAX flag jax_num_cpu_devices\n'


def test_a_number_of_devices_that_cannot_be():
    code = "from normjax.training import devices; devices.configure()"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=dict(os.environ) | {"JAX_NUM_CPU_DEVICES": "0"},
    )
    assert ran.stderr.splitlines()[-1] == (
        "normjax.errors.InputError: JAX_NUM_CPU_DEVICES=0: must be from 1 to 1024;"
        f" set JAX_NUM_CPU_DEVICES={devices.num_cores()}."
    )


def test_a_platform_that_does_not_start(monkeypatch):
    monkeypatch.setattr(
        jax, "devices", raising(RuntimeError("no such backend\nat all"))
    )
    with pytest.raises(InputError) as caught:
        devices.start()
    assert str(caught.value) == (
        "JAX_PLATFORMS='cpu': must be platforms that start (RuntimeError: no such"
        " backend); set JAX_PLATFORMS=cpu, or unset it."
    )


def test_more_steps_than_are_counted():
    with pytest.raises(InputError) as caught:
        levels.check_steps(1_000_000, steps=60_000.0)
    assert str(caught.value) == (
        "num_epochs=1000000: must be at most 35790, for steps are counted up to"
        " 2^31 - 1; set num_epochs=35790."
    )
    levels.check_steps(35_790, steps=60_000.0)


def test_arrays_of_numpy_are_grids():
    grid = {"learning_rate": np.geomspace(0.01, 1, 3)}
    (arm,) = plan.study(normjax.config(num_seeds=2, settings=grid)).arms
    np.testing.assert_array_equal(
        arm.settings["learning_rate"], np.float32([0.01, 0.1, 1])
    )
