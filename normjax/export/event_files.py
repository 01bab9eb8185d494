"""Event files of TensorBoard, without TensorFlow.

    <folder>/networks/<arm>/<settings>/<seed>/events.out.tfevents.0.<id of the run>

and the same under `arms`. The tab HPARAMS lists the configurations. The same run gives
the same bytes: a record does not know when a network was trained, so wall times begin
at 0 and count its seconds of training.
"""

import io
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from normjax import files
from normjax.export.runs import Run, runs
from normjax.export.writers import made_folder
from normjax.study.record import Record

PREFIX = "events.out.tfevents.0."
VERSION = "brain.Event:2"  # of the format, the first record of each file


def write(record: Record, labels: Mapping[str, str], kind: str, folder: Path) -> str:
    """Writes the event files, removes those of runs that are gone; how to see them."""
    root, found = folder / kind, runs(record, labels, kind)
    contents = {
        root.joinpath(*run.folders, PREFIX + run.id): session(run) for run in found
    }
    for path, content in contents.items():
        if not path.exists() or path.read_bytes() != content:
            files.write_bytes(made_folder(path.parent) / path.name, content)
    remove_others(root, set(contents))
    return f"{len(found)} runs (tensorboard --logdir {shlex.quote(str(root))})"


def session(run: Run) -> bytes:
    """The file of a run: its configuration, its scalars at their steps, and its end."""
    start = plugin_data_pb2.SessionStartInfo(group_name=run.name)
    for name, value in sorted(run.config.items()):
        if isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    end = plugin_data_pb2.SessionEndInfo(
        status=api_pb2.STATUS_SUCCESS, end_time_secs=run.seconds
    )
    data = plugin_data_pb2.HParamsPluginData
    began = hparams(metadata.SESSION_START_INFO_TAG, data(session_start_info=start))
    ended = hparams(metadata.SESSION_END_INFO_TAG, data(session_end_info=end))
    events = [Event(summary=began)]
    for time, (step, row) in zip(run.times().tolist(), run.rows()):
        values = [Summary.Value(tag=tag, simple_value=x) for tag, x in row.items()]
        events.append(Event(wall_time=time, step=step, summary=Summary(value=values)))
    return encoded([*events, Event(wall_time=run.seconds, summary=ended)])


def hparams(tag: str, data: plugin_data_pb2.HParamsPluginData) -> Summary:
    """A message of TensorBoard's hparams plugin, which rides on an empty tensor."""
    about = metadata.create_summary_metadata(data)
    value = Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


def encoded(events: Iterable[Event]) -> bytes:
    """The bytes of an event file; equal events give equal bytes."""
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in (Event(file_version=VERSION), *events):
        writer.write(event.SerializeToString(deterministic=True))
    return buffer.getvalue()


def remove_others(root: Path, kept: set[Path]) -> None:
    """Removes event files of runs that the record has no more, or half written ones."""
    for path in sorted(root.rglob(f"*{PREFIX}*")):
        if path not in kept:
            path.unlink()
            for parent in path.parents:
                if parent == root or any(parent.iterdir()):
                    break
                parent.rmdir()
