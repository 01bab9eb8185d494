"""Runs a study: flags -> config -> plan -> run -> report.

python launch.py --config=configs/quickstart.py --workdir=runs/quickstart
python launch.py --config=configs/optimizers.py:dataset=mnist,size=smoke \
    --workdir=runs/smoke --config.num_seeds=3
"""

from absl import app, flags, logging
from ml_collections import config_flags

from normjax.errors import InputError
from normjax.study import command_line, plan, run
from normjax.study.interrupts import Interrupts
from normjax.study.record import progress, read_record
from normjax.study.train import Stopped
from normjax.training import devices

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "a file of configs/, with arguments after a colon",
    lock_config=False,
    accept_new_attributes=True,  # a user's optimizer has settings of its own
)
GO_ON = "the same command goes on"
WORKDIR = flags.DEFINE_string("workdir", None, "folder of the record and the page")


def main(argv: list[str]) -> None:
    """Trains what is missing, writes the page, prints the table."""
    del argv
    from normjax.report import page, tables

    logging.set_verbosity(logging.WARNING)  # jax tells which platforms it has tried
    devices.configure()
    workdir = str(WORKDIR.value)
    try:
        with Interrupts(lambda: f"interrupted: {progress(workdir)}; {GO_ON}") as asked:
            study = plan.study(CONFIG.value)
            failed = run.complete(study, workdir, interrupts=asked)
            path = page.build(workdir)
            print(tables.text(read_record(workdir)))
            print(f"page: {path}")
    except InputError as error:
        command_line.stop(command_line.line(error))
    except Stopped:
        asked.end()
    if failed:
        lines = [f"failed: {arm}: {why}" for arm, why in failed.items()]
        command_line.stop("\n".join([*lines, GO_ON]), 1)


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
