"""Which figures a record has and what is in them, on records made from a formula."""

import itertools
import pathlib
import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from normjax import statistics
from normjax.report import axes, figures, networks, outcomes, page
from normjax.study.record import FINAL, Record

NORMS = {"norm": ("none", "batch")}
SIZES = {"norm": ("batch", "layer"), "batch_size": (2, 8, 32, 128)}
SCALES = {"init_scale": tuple(np.logspace(-4, 0, 20).tolist())}
FINAL_ACCURACY = outcomes.OUTCOMES[""]
LAYERS = ("dense_0", "norm_0", "dense_1", "norm_1", "dense_10")


def curves_of(arm: int, seed: int, value: float) -> dict[str, np.ndarray]:
    """Measurements after three epochs: no two networks have the same."""
    t = np.arange(1, 4)
    own = 0.01 * np.sin(7 * seed + arm) + 0.002 * np.log10(value)
    accuracy = 0.7 + 0.02 * arm - 0.3 * np.exp(-t) + own * t
    loss = np.exp(-t * (1.0 + 0.2 * arm)) * (1 + own)
    return {
        "train_loss": loss,
        "train_accuracy": accuracy + 0.05 * np.sin(2 * t),  # highest in epoch 1
        "validation_loss": loss + 0.1,
        "validation_accuracy": accuracy + 0.04 * np.sin(2 * t + 1),
        "test_loss": loss + 0.2,
        "test_accuracy": accuracy,
    }


def make(
    factors: dict[str, tuple[str, ...]],
    *,
    settings: dict[str, tuple[float, ...]] | None = None,
    num_seeds: int = 3,
    probes: tuple[str, ...] = (),
) -> Record:
    """A record of every combination of the factors, as it would be read."""
    settings = settings or {"learning_rate": (0.01,)}
    combinations = [dict(zip(factors, x)) for x in itertools.product(*factors.values())]
    arms = {"-".join(map(str, x.values())): x for x in combinations}
    networks, epochs, measured = [], [], {}
    for i, (arm, levels) in enumerate(arms.items()):
        grid = list(itertools.product(*settings.values()))
        for values, seed in itertools.product(grid, range(num_seeds)):
            lane = {"arm": arm, **levels, "seed": seed, **dict(zip(settings, values))}
            curves = curves_of(i, seed, values[-1])
            final = {x: curves[x][-1] for x in FINAL if x in curves}
            networks.append({**lane, **final, "diverged_at_step": -1, "seconds": 1.0})
            numbers = {"epoch": [1, 2, 3], "step": [10, 20, 30]}
            epochs.append(pd.DataFrame({**lane, **numbers, **curves}))
        shape = (len(grid), num_seeds, 3)
        for j, name in enumerate(probes):
            values = np.linspace(1, 5 + i + j, np.prod(shape)).reshape(shape)
            measured[f"{arm}/{name}"] = values
    about = {
        "study": "made",
        "factors": list(factors),
        "settings": list(settings),
        "seeds": list(range(num_seeds)),
        "arms": {
            arm: {
                "lanes": 3 * len(grid),
                "epoch_seconds": [1.0] * 3,
                "settings": dict(zip(settings, map(list, zip(*grid)))),
            }
            for arm in arms
        },
        "arm_order": list(arms),
    }
    return Record(
        pathlib.Path("made"),
        {},
        about,
        pd.DataFrame(networks),
        pd.concat(epochs),
        {},
        measured,
    )


def without(record: Record, lost: pd.Series) -> Record:
    """The record, had the networks in the rows `lost` diverged in epoch 2."""
    networks, epochs = record.networks.copy(), record.epochs.copy()
    networks.loc[lost, "diverged_at_step"] = 15
    networks.loc[lost, "train_loss"] = 1e30  # of the steps before
    rows = np.repeat(lost.to_numpy(), 3) & (epochs["epoch"] > 1).to_numpy()
    epochs.loc[rows, ["train_loss", "train_accuracy"]] = np.nan
    return record._replace(networks=networks, epochs=epochs.reset_index(drop=True))


def assert_drawn(ax, number: int, x: list[float], values: list[np.ndarray]) -> None:
    """Line and band `number` of a panel are the mean and the interval of `values`."""
    intervals = [statistics.mean_interval(np.asarray(v)) for v in values]
    mean, low, high, _ = np.array(intervals).T
    line, band = ax.lines[number], ax.collections[number]
    assert list(line.get_xdata()) == x
    np.testing.assert_array_equal(line.get_ydata(), mean)
    drawn = np.isfinite(low)
    edges = np.concatenate([low[drawn], high[drawn]])
    vertices = set(band.get_paths()[0].vertices[:, 1]) if drawn.any() else set()
    assert set(edges) == vertices


@pytest.fixture(scope="module")
def scales() -> Record:
    return make(NORMS, settings={"learning_rate": (1e-3,), **SCALES})


@pytest.fixture(scope="module")
def sizes() -> Record:
    return make(SIZES)


def draw(cells: list[networks.Cell], measure: str) -> Figure:
    return figures.draw_curves(cells, measure, figures.BY_EPOCH[measure])


# which figures


def names(record: Record) -> list[str]:
    return list(figures.plots(record))


ALWAYS = ["train_loss", "test_accuracy", "validation_accuracy", "seeds"]


def names_against(axis: str) -> list[str]:
    starts = ("", "best_validation_", "best_train_", "final_train_loss_")
    return [f"{start}against_{axis}" for start in starts]


def test_a_record_without_probes_and_grids_has_four_figures():
    assert names(make(NORMS)) == ALWAYS
    assert names(make(NORMS, settings={"learning_rate": (0.01, 0.1)})) == ALWAYS


def test_what_was_probed_is_drawn():
    probes = ("smoothness", "train_loss_evaluated", "update_norm.dense_0", "other")
    record = make(NORMS, probes=probes)
    extra = {"train_loss_evaluated", "smoothness", "update_norm"}
    assert set(names(record)) == {*ALWAYS, *extra}
    nothing = {k: np.full_like(x, np.nan) for k, x in record.probes.items()}
    assert names(record._replace(probes=nothing)) == ALWAYS


def test_a_setting_or_a_factor_of_three_numbers_is_an_axis(scales, sizes):
    assert names(scales) == ALWAYS + names_against("init_scale")
    (ax,) = figures.plots(scales)["test_accuracy"].draw().axes
    assert len(ax.lines) == 2  # each arm at its chosen setting
    assert names(sizes) == ALWAYS + names_against("batch_size")
    two = {"norm": ("batch", "layer"), "batch_size": (2, 8)}
    assert names(make(two)) == ALWAYS
    words = {"batch_size": (2, 8, "all")}
    assert names(make(words)) == ALWAYS


def test_a_factor_is_no_axis_where_arms_share_its_levels(sizes):
    found = networks.load(sizes)
    same = [x._replace(factors=x.factors | {"norm": "batch"}) for x in found]
    assert outcomes.axis_names(found) == ["batch_size"]
    assert outcomes.axis_names(same) == []


# against the epoch


def test_a_probe_is_drawn_against_the_epoch():
    record = make(NORMS, probes=("smoothness",))
    (ax,) = figures.plots(record)["smoothness"].draw().axes
    for i, arm in enumerate(("none", "batch")):
        values = record.probes[f"{arm}/smoothness"][0]
        assert_drawn(ax, i, [1, 2, 3], list(values.T))
    assert ax.get_yscale() == "linear"


def test_an_arm_that_was_not_probed_has_no_line():
    record = make({"norm": ("none", "batch", "layer")}, probes=("smoothness",))
    probes = {k: x for k, x in record.probes.items() if "none" not in k}
    drawn = figures.plots(record._replace(probes=probes))["smoothness"].draw()
    (ax,) = drawn.axes
    assert [line.get_label() for line in ax.lines] == ["batch", "layer"]
    assert ax.lines[0].get_color() == axes.COLOURS[1]  # as in every figure


def test_a_panel_without_numbers_says_so():
    record = make({"norm": ("none", "batch"), "l2": ("off", "low", "high")})
    record.epochs.loc[(record.epochs["norm"] == "none").values, "train_loss"] = np.nan
    drawn = draw(networks.load(record), "train_loss")
    empty, full = drawn.axes
    assert [text.get_text() for text in empty.texts] == ["no finite value"]
    assert len(full.texts) == 0
    assert len(full.lines) == 3


def test_one_epoch_of_one_network_is_a_marker_without_a_band():
    (cell, _) = networks.load(make(NORMS, num_seeds=1))
    cell = cell._replace(
        curves={"train_loss": cell.curves["train_loss"][:, :1]}, steps=cell.steps[:1]
    )
    (ax,) = draw([cell], "train_loss").axes
    assert ax.lines[0].get_marker() == "o"
    assert_drawn(ax, 0, [1], [cell.curves["train_loss"][:, 0]])


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ((1.0, 5.0), "linear"),
        ((1.0, 20.0), "log"),
        ((0.0, 1.0, 20.0), "log"),
        ((-1.0, 20.0), "linear"),
        ((np.nan, np.nan), "linear"),
    ],
)
def test_what_spans_more_than_a_factor_of_ten_has_a_log_scale(values, scale):
    _, (ax,) = axes.make_panels([""], 1)
    ax.plot(values)
    axes.use_log_y([ax])
    assert ax.get_yscale() == scale


# against a setting


@pytest.mark.parametrize(
    ("start", "table", "column"),
    [
        ("", "networks", "test_accuracy"),
        ("best_validation_", "epochs", "validation_accuracy"),
        ("best_train_", "epochs", "train_accuracy"),
        ("final_train_loss_", "networks", "train_loss"),
    ],
)
def test_twenty_scales_are_drawn_on_a_log_axis(scales, start, table, column):
    (ax,) = figures.plots(scales)[f"{start}against_init_scale"].draw().axes
    assert ax.get_xscale() == "log"
    assert len(ax.lines) == 2
    rows = getattr(scales, table)
    for i, arm in enumerate(("none", "batch")):
        mine = rows[rows["arm"] == arm]
        highest = mine.groupby(["init_scale", "seed"])[column].max().unstack("seed")
        x = list(SCALES["init_scale"])
        assert list(highest.index) == x
        assert_drawn(ax, i, x, list(highest.to_numpy()))


@pytest.mark.parametrize("whole", [True, False])
def test_the_best_train_accuracy_is_that_in_evaluation_mode_if_it_was_probed(whole):
    """Of every arm: with one that was not, all are as accumulated; the axis says so."""
    settings = {"init_scale": (0.1, 1.0, 10.0)}
    name = "train_accuracy_evaluated"
    record = make(NORMS, settings=settings, probes=(name,))
    if not whole:
        record.probes.pop(f"batch/{name}")
    (ax,) = figures.plots(record)["best_train_against_init_scale"].draw().axes
    mode = "in evaluation mode" if whole else "while training"
    assert ax.figure.get_supylabel() == f"best train accuracy {mode}"
    assert ax.get_yscale() == "linear"
    rows = record.epochs[record.epochs["arm"] == "none"]
    values = rows.groupby(["init_scale", "seed"])["train_accuracy"].max()
    values = list(values.unstack("seed").to_numpy())
    if whole:
        values = list(record.probes[f"none/{name}"].max(-1))
    assert_drawn(ax, 0, list(settings["init_scale"]), values)


def test_networks_that_diverged_have_no_final_train_loss(scales):
    """None of the three at scale 1, and two of the three at the one below."""
    of = scales.networks
    largest, next_one = SCALES["init_scale"][-1], SCALES["init_scale"][-2]
    lost = (of["arm"] == "none") & (
        (of["init_scale"] == largest)
        | ((of["init_scale"] == next_one) & (of["seed"] > 0))
    )
    record = without(scales, lost)
    drawn = figures.plots(record)
    assert drawn["final_train_loss_against_init_scale"].caption == (
        "Final train loss against init scale, without 5 of 120 networks, which diverged"
    )
    (ax,) = drawn["final_train_loss_against_init_scale"].draw().axes
    mine = of[(of["arm"] == "none") & ~lost]
    left = [
        mine.loc[mine["init_scale"] == x, "train_loss"] for x in SCALES["init_scale"]
    ]
    assert [len(x) for x in left[-3:]] == [3, 1, 0]
    assert_drawn(ax, 0, list(SCALES["init_scale"]), left)
    (ax,) = drawn["best_train_against_init_scale"].draw().axes
    assert drawn["best_train_against_init_scale"].caption == (
        "Best train accuracy over the epochs (the axis says in which mode) against init"
        " scale"
    )
    first = record.epochs[(record.epochs["arm"] == "none")]
    first = first[(first["epoch"] == 1) & (first["init_scale"] == largest)]
    assert ax.lines[0].get_ydata()[-1] == first["train_accuracy"].mean()
    assert figures.note(networks.load(record)).endswith(
        " 5 of 120 networks diverged: the curves of their train loss and accuracy end"
        " there, and what is evaluated later is their last finite state."
    )


def test_the_other_settings_are_chosen_by_validation_accuracy():
    grid = {"learning_rate": (0.1, 0.2, 0.4), "decay": (0.9, 0.99)}
    record = make(NORMS, settings=grid)
    table = record.networks.assign(validation_accuracy=record.networks["decay"])
    found = networks.load(record._replace(networks=table))
    (ax,) = outcomes.draw_against(found, "learning_rate", FINAL_ACCURACY).axes
    assert ax.get_xscale() == "linear"
    for i, arm in enumerate(("none", "batch")):
        best = table[(table["decay"] == 0.99) & (table["arm"] == arm)]
        rates = best.groupby("learning_rate")["test_accuracy"]
        values = [rates.get_group(x) for x in grid["learning_rate"]]
        assert_drawn(ax, i, [0.1, 0.2, 0.4], values)


def test_an_arm_without_the_setting_has_no_line():
    grid = {"learning_rate": (0.1, 0.2, 0.4)}
    none, *batch = networks.load(make(NORMS, settings=grid))[2:]
    none = none._replace(settings={"learning_rate": np.nan})
    found = [none, *batch]
    (ax,) = outcomes.draw_against(found, "learning_rate", FINAL_ACCURACY).axes
    assert [line.get_label() for line in ax.lines] == ["batch"]


# against a factor of numbers


def test_accuracy_is_drawn_against_the_batch_size(sizes):
    """A line a norm, in the colour that it has in every figure."""
    drawn = figures.plots(sizes)
    (ax,) = drawn["against_batch_size"].draw().axes
    for i, norm in enumerate(SIZES["norm"]):
        rows = sizes.networks[sizes.networks["norm"] == norm].groupby("batch_size")
        values = [rows.get_group(x)["test_accuracy"] for x in SIZES["batch_size"]]
        assert_drawn(ax, i, [2, 8, 32, 128], values)
    assert ax.get_xscale() == "log"
    assert list(ax.get_xticks()) == [2, 8, 32, 128]
    assert [x.get_text() for x in ax.get_xticklabels()] == ["2", "8", "32", "128"]
    assert list(ax.get_xticks(minor=True)) == []
    panels = drawn["test_accuracy"].draw().axes
    assert [x.get_title(loc="left") for x in panels] == [
        f"batch size {x}" for x in SIZES["batch_size"]
    ]
    for panel in panels:
        colours = [x.get_color() for x in panel.lines]
        assert colours == [x.get_color() for x in ax.lines]


def test_the_line_goes_up_the_axis_whatever_the_order_of_the_arms():
    mixed = make({"batch_size": (32, 2, 128, 8)})
    drawn = figures.plots(mixed)["against_batch_size"].draw()
    (ax,) = drawn.axes
    rows = mixed.networks.groupby("batch_size")["test_accuracy"]
    values = [rows.get_group(x) for x in (2, 8, 32, 128)]
    assert_drawn(ax, 0, [2, 8, 32, 128], values)
    assert len(ax.lines) == 1  # no other factor: one line, and nothing to explain
    assert drawn.legends == []
    assert axes.layout(networks.load(mixed)).colour == "batch_size"


def test_a_factor_that_starts_at_zero_has_a_linear_axis():
    record = make({"rate": (0, 0.1, 0.5)})
    (ax,) = figures.plots(record)["against_rate"].draw().axes
    assert ax.get_xscale() == "linear"
    assert [x.get_text() for x in ax.get_xticklabels()] == ["0", "0.1", "0.5"]


# by layer


def test_each_arm_has_a_panel_and_each_layer_a_line():
    record = make(NORMS, probes=tuple(f"gradient_norm.{x}" for x in LAYERS))
    lost = {"none/gradient_norm.norm_0", "none/gradient_norm.norm_1"}
    probes = {k: x for k, x in record.probes.items() if k not in lost}
    drawn = figures.plots(record._replace(probes=probes))["gradient_norm"].draw()
    none, batch = drawn.axes
    assert [none.get_title(loc="left"), batch.get_title(loc="left")] == list(
        NORMS["norm"]
    )
    assert [x.get_label() for x in none.lines] == ["dense_0", "dense_1", "dense_10"]
    assert [x.get_label() for x in batch.lines] == list(LAYERS)
    for i, layer in enumerate(LAYERS):
        values = probes[f"batch/gradient_norm.{layer}"][0]
        assert_drawn(batch, i, [1, 2, 3], list(values.T))
    assert none.get_yscale() == batch.get_yscale() == "log"
    assert [x.get_text() for x in drawn.legends[0].get_texts()] == [
        *("dense_0", "dense_1", "dense_10", "norm_0", "norm_1")
    ]


def layer_strokes(*names: str) -> dict[str, tuple[axes.Stroke, str]]:
    return axes.layer_strokes([axes.read_layer(name) for name in names])


def test_layers_go_from_dark_to_light_in_the_order_of_their_numbers():
    strokes = layer_strokes("dense_10", "dense_2", "logits", "dense_0")
    assert list(strokes) == ["dense_0", "dense_2", "dense_10", "logits"]
    brightness = [sum(to_rgb(colour)) for (colour, _), _ in strokes.values()]
    assert brightness[0] < brightness[1] < brightness[2]
    assert [dashes for (_, dashes), _ in strokes.values()] == ["-", "-", "-", "--"]


def test_of_forty_layers_some_are_labelled_and_all_are_drawn_apart():
    of = [f"{kind}_{i}_{j}" for kind in ("conv", "norm") for i in "01" for j in "0123"]
    more = [f"conv_{i}_{j}" for i in "234" for j in "0123"]
    strokes = layer_strokes(*of, "conv", *more)
    assert len({stroke for stroke, _ in strokes.values()}) == 29
    conv = [label for name, (_, label) in strokes.items() if name.startswith("conv")]
    assert [x for x in conv if x][:2] == ["conv", "conv_0_2"]
    assert sum(map(bool, conv)) == 7


# how it strokes


@pytest.mark.parametrize("length", [5, 45, 90])
def test_legends_and_titles_stay_inside_and_apart(length):
    """Eight names of up to ninety letters over two panels, laid out."""
    levels = tuple(f"{i}_".ljust(length, "e") for i in range(8))
    found = networks.load(make({"norm": levels, "protocol": ("a" * 40, "b")}))
    with matplotlib.rc_context(axes.STYLE):
        figure = draw(found, "test_accuracy")
        figure.draw_without_rendering()
    inside = figure.bbox.padded(1)
    texts = [x.get_window_extent() for x in figure.legends[0].get_texts()]
    handles = [x.get_window_extent() for x in figure.legends[0].get_lines()]
    legend = Bbox.union(texts + handles)
    assert inside.x0 <= legend.x0
    assert legend.x1 <= inside.x1
    assert legend.y1 <= inside.y1
    assert not any(a.overlaps(b) for a, b in itertools.combinations(texts, 2))
    left, right = (ax.get_tightbbox() for ax in figure.axes)
    assert left.y1 <= legend.y0
    assert left.x1 <= right.x0
    assert figure.axes[0].get_window_extent().height > 100


def test_more_arms_than_looks_are_drawn():
    levels = tuple(f"n{i}" for i in range(30))
    plan = axes.layout(networks.load(make({"norm": levels}, num_seeds=1)))
    assert len(plan.strokes) == 30
    assert len(set(plan.strokes.values())) == 28


# the page


def test_every_figure_is_on_the_page_with_its_caption_and_ids_of_its_own(tmp_path):
    probes = ("smoothness", "gradient_norm.dense_0", "gradient_norm.dense_1")
    factors = {"batch_size": (2, 8, 32)}
    record = make(factors, settings={"rate": (0.1, 1.0, 10.0)}, probes=probes)
    plots = figures.plots(record)
    drawn = figures.write_figures(plots, tmp_path / "figures")
    expected = {"smoothness", "gradient_norm"}
    expected |= {*names_against("rate"), *names_against("batch_size")}
    assert set(drawn) == set(plots) == {*ALWAYS, *expected}
    for name, (svg, width) in drawn.items():
        assert (tmp_path / "figures" / f"{name}.svg").read_text() == svg
        assert f' width="{width:g}pt"' in svg
        png = (tmp_path / "figures" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
    captions = {name: plot.caption for name, plot in plots.items()}
    assert len(set(captions.values())) == len(drawn)
    assert "Final test accuracy against batch size" in captions.values()
    shown = [page._figure(x, captions[x], drawn[x]) for x in drawn]
    assert [x["caption"] for x in shown] == list(captions.values())
    for x in shown:
        label = x["caption"].replace("'", "&#39;")
        assert f'role="img" aria-label="{label}"' in x["svg"]
    ids = [i for x in shown for i in re.findall(r'\bid="([^"]+)"', x["svg"])]
    assert len(set(ids)) == len(ids)
    used = [
        i for x in shown for i in re.findall(r'(?:href="#|url\(#)([^")]+)', x["svg"])
    ]
    assert set(used) <= set(ids)
    some = {name: plots[name] for name in ("gradient_norm", "against_batch_size")}
    again = figures.write_figures(some, tmp_path / "figures")
    assert again == {name: drawn[name] for name in some}
