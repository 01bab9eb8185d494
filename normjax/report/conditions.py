"""What was trained, in the words of a page: data, model, epochs and batch size."""

from typing import Any

from normjax.study.record import Record


def training_rows(record: Record) -> list[tuple[str, str]]:
    """The data, the model, the epochs and the batch size, as pairs of term and text."""
    config = record.config
    model = config.get("model", {})
    data = config.get("data", {}).get("name", "")
    sizes = record.record.get("num_examples", {})
    parts = ", ".join(f"{number:,} {split}" for split, number in sizes.items())
    names = _levels(record, "model", model.get("name", ""))
    widths = ", ".join(map(str, model.get("widths", ())))
    ours = widths and not any(x in names for x in ".<")
    return [
        ("Data", f"{data} ({parts} examples)" if data and parts else data),
        ("Model", f"{names} (widths {widths})" if ours else names),
        ("Epochs", str(config.get("num_epochs", ""))),
        ("Batch size", _levels(record, "batch_size", config.get("batch_size", ""))),
    ]


def _levels(record: Record, factor: str, otherwise: Any) -> str:
    """The levels of a factor that a study has, or the value of the field."""
    arms = record.record["arms"].values()
    found = dict.fromkeys(arm.get("factors", {}).get(factor, otherwise) for arm in arms)
    return ", ".join(map(str, found))
