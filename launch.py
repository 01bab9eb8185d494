"""Runs a study: flags -> config -> plan -> run -> report.

python launch.py --config=configs/quickstart.py --workdir=runs/quickstart
python launch.py --config=configs/optimizers.py:dataset=mnist,size=smoke \
    --workdir=runs/smoke --config.num_seeds=3

Modules are imported where they are used: Ctrl-C has an answer before the first one.
"""

import os
import signal
import sys


def main() -> None:
    """Loads what reads the flags, and runs the study that they ask for."""
    replace_handler(signal.default_int_handler, leave)
    try:
        from absl import app

        from normjax.study import command_line
    except ValueError as error:  # jax reads its variables, JAX_*, while it loads
        print(error, file=sys.stderr)
        sys.exit(2)
    app.run(run_study, flags_parser=command_line.parse)


def run_study(argv: list[str]) -> None:
    """Trains what is missing, writes the page, prints the table."""
    del argv
    from absl import flags, logging

    from normjax.errors import InputError
    from normjax.report import page, tables
    from normjax.study import command_line, plan, run
    from normjax.study.record import progress, read_record
    from normjax.training import devices

    logging.set_verbosity(logging.WARNING)  # jax tells which platforms it has tried
    workdir = os.path.expanduser(flags.FLAGS.workdir)
    try:
        devices.configure()
        devices.start()
        study = plan.study(flags.FLAGS.config)
        replace_handler(leave, signal.default_int_handler)
        run.complete(study, workdir)
        path = page.build(workdir)
        print(tables.text(read_record(workdir)))
        print(f"page: {path}")
    except InputError as error:
        command_line.stop(command_line.line(error))
    except KeyboardInterrupt:
        replace_handler(signal.default_int_handler, leave)
        kept = progress(workdir)
        command_line.stop(f"interrupted: {kept}; the same command goes on", 130)
    finally:  # of jax there is still something to end
        replace_handler(signal.default_int_handler, leave)


def leave(*_) -> None:
    """Ends the program at once with a line: no study is being written."""
    os.write(2, b"interrupted: the same command goes on\n")
    os._exit(130)


def replace_handler(old, new) -> None:
    """Lets `new` answer Ctrl-C if `old` does; a shell may have it ignored."""
    if signal.getsignal(signal.SIGINT) is old:
        signal.signal(signal.SIGINT, new)


if __name__ == "__main__":
    main()
