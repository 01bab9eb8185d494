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
    from normjax.errors import InputError
    from normjax.study import usage

    try:
        told = usage.reply(sys.argv[1:])
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    if told is not None:
        try:
            print(told, flush=True)
        except BrokenPipeError:  # its reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, leave)
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

    from normjax import launcher
    from normjax.errors import InputError
    from normjax.study import command_line
    from normjax.study.folder import progress
    from normjax.study.interrupts import Interrupts
    from normjax.study.train import Stopped

    logging.set_verbosity(logging.WARNING)  # jax tells which platforms it has tried
    workdir = os.path.expanduser(flags.FLAGS.workdir)
    try:
        process = launcher.join(flags.FLAGS)  # before anything starts a device
        dry = flags.FLAGS.dry_run
        left = lambda: DRY if dry else f"interrupted: {progress(workdir)}; {GO_ON}"
        with Interrupts(left) as asked:
            failed = launcher.launch(flags.FLAGS, workdir, process, asked)
    except InputError as error:
        command_line.stop(command_line.line(error))
    except Stopped:
        asked.end()
    if failed:
        command_line.stop("\n".join(launcher.failures(failed, workdir)), 1)


GO_ON = "the same command goes on"
DRY = "interrupted: nothing is trained by a dry run, and nothing is kept of it"


def leave(number: int, _) -> None:
    """Ends the program at once with a line: no study is being written."""
    line = DRY if "--dry_run" in sys.argv else f"interrupted: {GO_ON}"
    os.write(2, f"{line}\n".encode())
    os._exit(128 + number)


if __name__ == "__main__":
    main()
