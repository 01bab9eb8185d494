"""Tables of the columns of the csv files of a workdir."""

from normjax.checks.document import markdown
from normjax.study import trials
from normjax.study.columns import columns

IDENTITY = {
    "arm": "name of the arm, made of its levels",
    "FACTOR": "level of the arm: a column for each factor that the study varies, and"
    " protocol, norm, placement, optimizer, penalty and batch_size",
    "seed": "seed of the network",
    "SETTING": "value of the setting: a column each; `nan` where an arm has not got it",
}
MEANINGS = {
    **IDENTITY,
    "epoch": "from 1; the row is after that epoch",
    "step": "gradient steps taken so far",
    "trial": "position of the setting among those that its arm tried, from 0",
    "diverged_at_step": "first step, from 1, whose state is not finite; -1"
    " if there is none. The network stays at its last finite state",
    "seconds": "training and evaluation of the network: the time of its group, divided"
    " by the networks in it; compilation is not part of it",
    "mapping": "how the lanes of its group shared devices, such as `map` or `map-8`",
    "train_loss": "mean cross-entropy in nats over the epoch's batches, in training"
    " mode, while the parameters move",
    "train_accuracy": "share in [0, 1], measured in the same way",
}
EVALUATED = "cross-entropy in nats", "share in [0, 1]"
for split in ("validation", "test"):
    for measure, what in zip(("loss", "accuracy"), EVALUATED):
        MEANINGS[f"{split}_{measure}"] = f"{what} on the {split} split, evaluation mode"


def tables() -> dict[str, dict[str, str]]:
    """Page -> name of a table -> the table."""
    record = {"factors": ["FACTOR"], "settings": ["SETTING"]}
    final = ("trial", "seed", *trials.MEASURES, "diverged_at_step")
    names = {
        "networks": columns(record, "networks.csv"),
        "epochs": columns(record, "epochs.csv"),
        "trials": ("arm", "FACTOR", "SETTING", *final),
    }
    return {"columns.md": {name: table(x) for name, x in names.items()}}


def table(names: tuple[str, ...]) -> str:
    """A line for each column."""
    rows = [[f"`{name}`" if name.islower() else f"*{name.lower()}*"] for name in names]
    meanings = ([*row, MEANINGS[name]] for row, name in zip(rows, names))
    return markdown(["column", "meaning"], meanings)
