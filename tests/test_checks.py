"""The table of checks: complete, within budget, and able to find what is wrong."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mutants import __main__ as mutants_command
from mutants import conventions, every

from benchmarks import variance_forms
from normjax import layers
from normjax.checks import __main__ as command
from normjax.checks import document, frameworks, rounding, rows
from normjax.checks.rows import Check, CheckRow
from normjax.errors import InputError
from normjax.ops import moments, norms, weights
from normjax.optimizers import recipes

pytestmark = pytest.mark.compiled_as_users_do

CHECKS, MUTANTS = every.CHECKS, every.MUTANTS


@functools.cache
def measured(name):
    """A row, measured once for all tests."""
    return CHECKS[name].row()


# ---- complete ---------------------------------------------------------------------


def test_every_norm_has_a_reference_and_so_its_rows():
    """So that none can be added without proof: see the tables of references."""
    for name, row in layers.NORMS.items():
        if row == layers.Norm():
            continue  # no norm
        for kind in ("forward", "bf16", "gradient"):
            assert f"{kind}: {name}" in CHECKS
        part = (row.kernel or row.layer)()
        x = jax.ShapeDtypeStruct((4, 3, 3, 8), jnp.float32)
        init = lambda x, part=part: part.init(jax.random.key(0), x, train=True)
        learns = "batch_stats" in jax.eval_shape(init, x)
        assert (f"running: {name}" in CHECKS) == (learns and name != "frozen")


def test_every_preset_and_every_recipe_has_a_reference():
    assert all(f"running: batch, {p} preset" in CHECKS for p in layers.PRESETS)
    assert all(f"optimizer: {recipe}" in CHECKS for recipe in recipes.RECIPES)


def test_every_kind_of_row_has_a_mutant_and_every_mutant_a_row():
    assert {mutant.row for mutant in MUTANTS.values()} <= set(CHECKS)
    kinds = lambda names: {name.partition(":")[0] for name in names}
    assert kinds(m.row for m in MUTANTS.values()) == kinds(CHECKS)


def test_what_was_found_once_has_a_mutant_still():
    """In each kind of row each kind of defect that a mutant there has ever had."""
    kept = {(m.defect, m.row.partition(":")[0]) for m in MUTANTS.values()}
    for defect, counts in mutants_command.BEFORE.items():
        for kind in counts:
            known = kind not in frameworks.EXTRAS or frameworks.is_installed(kind)
            assert ((defect, kind) in kept) == known


def test_every_difference_of_the_document_has_its_mutant():
    for convention in conventions.CONVENTIONS:
        framework = convention.mutant.split(":")[0]
        known = framework not in frameworks.EXTRAS or frameworks.is_installed(framework)
        assert (convention.mutant in MUTANTS) == known


# ---- within budget, and over ------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_every_row_is_within_its_budget(name):
    assert measured(name).ok


@pytest.mark.parametrize("name", MUTANTS)
def test_a_row_finds_what_is_wrong_and_only_that(name):
    """By 5 budgets (1 - decay^t in float32), 20 and more."""
    mutant = MUTANTS[name]
    assert measured(mutant.row).ok
    assert CHECKS[mutant.row].row(mutant.wrong).used > 5


# ---- how a row is judged ----------------------------------------------------------


def judged(found, value, error):
    return rows.worst(
        np.asarray(found), rounding.Rounded(np.asarray(value), np.asarray(error))
    )


def test_the_worst_entry_is_that_with_most_of_its_budget_used():
    """Relative to the largest of its feature: 0.5 / 4, though the other errs by 1."""
    value, error = [[1.0, 100.0], [4.0, 200.0]], [[1.0, 4.0], [1.0, 4.0]]
    assert judged([[1.5, 101.0], [4.0, 200.0]], value, error) == (0.125, 0.25)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_over_budget(wrong):
    assert judged([1.0, wrong], [1.0, 2.0], [1.0, 1.0])[0] == np.inf


def test_what_has_another_shape_is_over_budget():
    assert judged(np.ones((2, 1)), np.ones(2), np.ones(2)) == (np.inf, 0.0)


def test_an_error_of_zero_is_within_a_budget_of_zero_and_no_other_is():
    zero = np.zeros(2)
    assert CheckRow("a", "b", *judged(zero, zero, zero)).used == 0
    assert CheckRow("a", "b", *judged([0.0, 1e-30], zero, zero)).used == np.inf
    assert CheckRow("a", "b", 0.0, 0.0).ok
    assert not CheckRow("a", "b", math.nan, 1.0).ok


# ---- budgets ----------------------------------------------------------------------


def float32_of(formula, *values):
    """A formula in float32, and its worst error over the derived bound."""
    right = formula(*(rounding.rounded(value) for value in values))
    found = formula(*(np.asarray(value, np.float32) for value in values))
    assert found.dtype == np.float32
    error = np.abs(found.astype(np.float64) - right.value)
    return np.max(error / right.error)


OPERATIONS = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a b": lambda a, b: a * b,
    "a / b": lambda a, b: a / b,
    "1 - a": lambda a, b: 1 - a,
    "1 / a": lambda a, b: 1 / a,
    "a^3": lambda a, b: a * a * a,
    "(a - b) / (a + b) b": lambda a, b: (a - b) / (a + b) * b,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_bound_holds_and_is_not_idle(name):
    """Of 4,096 draws none is over its bound, and one uses a third of it."""
    a, b = np.random.default_rng(0).uniform(0.01, 3, (2, 4096)).astype(np.float32)
    assert 1 / 3 < float32_of(OPERATIONS[name], a, b) <= 1


def test_sums_in_float32_stay_within_their_bound():
    """Taken one by one, the longest way: 2 sqrt(n) units of sum(|x|) are enough."""
    x = np.random.default_rng(0).uniform(0, 1, (64, 4096)).astype(np.float32)
    right = rounding.total(rounding.rounded(x), -1)
    found = np.cumsum(x, -1, dtype=np.float32)[:, -1:]
    used = np.max(np.abs(found - right.value) / right.error)
    assert 0.05 < used <= 1


def test_a_constant_that_float32_does_not_hold_is_off_by_a_rounding():
    assert rounding.rounded(0.5).error == 0
    assert rounding.rounded(0.1).error == 0.1 * rounding.UNIT32


def test_the_errors_of_inputs_pass_through():
    """With nothing rounded: derivatives 2 and 3 of a b, and both ends of a root."""
    a, b = (rounding.Rounded(v, e, 0.0) for v, e in ((3.0, 0.01), (2.0, 0.01)))
    assert (a * b).error == pytest.approx(0.05 + 1e-4)
    assert rounding.root(a).error == pytest.approx(np.sqrt(3) - np.sqrt(2.99))
    assert rounding.maximum(a, b).error == 0.01


def test_a_variance_has_the_error_of_its_mean_squared():
    """Not times 2 |x - mean|, as mean((x - mean)^2) by its operations would."""
    x = rounding.Rounded(np.asarray([-1.0, 1.0]), np.zeros(2), 0.0)
    off = rounding.Rounded(np.zeros(1), np.asarray([0.1]), 0.0)
    assert rounding.variance(x, off, 0).error == pytest.approx(0.01)


def test_masked_entries_count_for_nothing():
    x = rounding.rounded(np.asarray([1.0, 50.0, 3.0]))
    where = np.asarray([True, False, True])
    middle = rounding.mean(x, 0, where)
    assert middle.value == 2
    assert rounding.variance(x, middle, 0, where).value == 1


# ---- the command ------------------------------------------------------------------

GOOD, OVER = CheckRow("one", "kind", 1e-8, 2e-8), CheckRow("two", "kind", 1.0, 2e-8)


def run(monkeypatch, capsys, found, *flags):
    """Exit code and output of the command whose checks find these rows."""
    checks = {
        row.name: Check(row.name, row.kind, print, lambda _, row=row: row[2:])
        for row in found
    }
    monkeypatch.setattr(command, "all_checks", lambda: checks)
    monkeypatch.setattr(frameworks, "EXTRAS", ())
    monkeypatch.setattr("sys.argv", ["checks", *flags])
    with pytest.raises(SystemExit) as ended:
        command.main()
    return ended.value.code, capsys.readouterr().out


def test_the_table_says_what_is_over_and_the_exit_code_too(monkeypatch, capsys):
    code, out = run(monkeypatch, capsys, [GOOD, OVER])
    assert code == 1
    assert out.splitlines() == [
        "kind  name     error    budget     used",
        "kind  one    1.0e-08   2.0e-08      0.5",
        "kind  two    1.0e+00   2.0e-08    5e+07  over",
        "2 rows, 1 over budget, 0 s",
    ]
    assert run(monkeypatch, capsys, [GOOD])[0] == 0


def test_json_has_the_rows(monkeypatch, capsys):
    endless = OVER._replace(error=np.inf)
    code, out = run(monkeypatch, capsys, [GOOD, endless], "--json")
    assert code == 1
    assert json.loads(out) == [
        {"name": "one", "kind": "kind", "error": 1e-8, "budget": 2e-8, "ok": True},
        {"name": "two", "kind": "kind", "error": None, "budget": 2e-8, "ok": False},
    ]


def test_what_is_not_installed_is_said_in_a_line(monkeypatch):
    monkeypatch.setattr(frameworks, "is_installed", lambda name: name != "torch")
    assert frameworks.missing_frameworks() == [
        "torch is not installed: its rows are left out; pip install -c constraints.txt"
        " -e '.[torch]' adds them."
    ]
    kinds = {check.kind for check in command.all_checks().values()}
    assert "torch" not in kinds
    assert "flax" in kinds


# ---- the document -----------------------------------------------------------------

TEXT = "before\n<!-- table: a -->\nold\n<!-- end -->\nafter\n"


def test_a_table_is_replaced_and_nothing_else(tmp_path):
    path = tmp_path / "text.md"
    path.write_text(TEXT)
    new = document.markdown(("x", "y"), [("1", "2")])
    for _ in range(2):  # the second time changes nothing
        document.write(path, {"a": new})
        assert path.read_text() == (
            "before\n<!-- table: a -->\n\n| x | y |\n| --- | --- |\n| 1 | 2 |\n\n"
            "<!-- end -->\nafter\n"
        )


def test_a_document_without_a_place_is_refused(tmp_path):
    path = tmp_path / "text.md"
    path.write_text(TEXT)
    with pytest.raises(InputError) as caught:
        document.write(path, {"b": "new"})
    assert str(caught.value) == (
        f"{path}: must hold a line <!-- table: b --> and, after it, <!-- end -->; add"
        " them where the table belongs."
    )
    assert path.read_text() == TEXT


def test_the_document_tables_show_the_nearest_row_and_the_cost_of_a_mix_up():
    near = CheckRow("three", "kind", 1.9e-8, 2e-8)
    assert command.kind_table([GOOD, near]).splitlines()[2] == (
        "| kind | 2 | three | 1.9e-08 | 2.0e-08 | 0.95 |"
    )
    mixed = CheckRow("keras: eps of torch", "keras: batch", 2e-4, 1e-6)
    table = conventions.convention_table({"one": GOOD, mixed.name: mixed})
    assert table.splitlines()[2:] == [
        "| Batch norm's eps: 1e-3 in Keras, 1e-5 elsewhere | `keras: batch` |"
        " 2.0e-04 | 200 |"
    ]


def test_the_table_of_defects_counts_what_there_was_and_is():
    lines = mutants_command.defect_table().splitlines()
    assert lines[0].startswith("| defect | forward |")
    assert "| variance in one pass | 13 → 3 |" in lines[5]
    before = sum(sum(row.values()) for row in mutants_command.BEFORE.values())
    assert (before, len(lines)) == (290, 2 + len(mutants_command.BEFORE) + 1)


def test_a_check_judges_its_subject():
    check = Check("a", "b", lambda: 3.0, lambda subject: (subject(), 2.0))
    assert check.row() == CheckRow("a", "b", 3.0, 2.0)
    assert check.row(lambda: 1.0) == CheckRow("a", "b", 1.0, 2.0)


# ---- what a norm is given ---------------------------------------------------------

IMAGES = jnp.ones((4, 3, 3, 8))
RUNNING = moments.Running(jnp.zeros(8), jnp.ones(8))
SHORT = moments.Running(jnp.zeros(8), jnp.ones(1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: moments.mean_and_var(IMAGES, (0, 4)),
            "axes=(0, 4): must be axes of x, -4 to 3 for its shape (4, 3, 3, 8); use -1"
            " for the last.",
        ),
        (
            lambda: moments.mean_and_var(IMAGES, -5),
            "axes=-5: must be axes of x, -4 to 3 for its shape (4, 3, 3, 8); use -1 for"
            " the last.",
        ),
        *(
            (
                lambda form=form: form(IMAGES, 4),
                "axes=4: must be axes of x, -4 to 3 for its shape (4, 3, 3, 8); use -1"
                " for the last.",
            )
            for form in variance_forms.FORMS.values()
        ),
        (
            lambda: norms.layer_norm(IMAGES, jnp.ones(4)),
            "scale.shape=(4,): must be (8,), one entry per feature of x, whose shape is"
            " (4, 3, 3, 8); make it for this x.",
        ),
        (
            lambda: norms.group_norm(IMAGES, None, jnp.ones((1, 8)), num_groups=2),
            "bias.shape=(1, 8): must be (8,), one entry per feature of x, whose shape"
            " is (4, 3, 3, 8); make it for this x.",
        ),
        *(
            (
                lambda train=train: norms.batch_norm(IMAGES, SHORT, train=train),
                "running.var.shape=(1,): must be (8,), one entry per feature of x,"
                " whose shape is (4, 3, 3, 8); make it for this x.",
            )
            for train in (True, False)
        ),
        (
            lambda: norms.batch_norm(
                IMAGES, RUNNING, train=False, mask=jnp.ones((4, 1, 1), bool)
            ),
            "mask.shape=(4, 1, 1): must be (4, 3, 3) or (4, 3, 3, 8) for x of shape"
            " (4, 3, 3, 8); broadcast a mask of examples over the spatial axes.",
        ),
        (
            lambda: weights.weight_norm(IMAGES, jnp.ones(3)),
            "scale.shape=(3,): must be (8,), one entry per feature of kernel, whose"
            " shape is (4, 3, 3, 8); make it for this kernel.",
        ),
    ],
)
def test_wrong_shapes_and_axes_are_named_in_one_line(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
