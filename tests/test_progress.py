"""What is shown while a study trains: in a terminal, in a pipe, and the time left."""

import io
import itertools
import pathlib
import re

import numpy as np
import pytest

import normjax
from normjax.study import display, groups, plan, run
from normjax.study.display import Display
from normjax.study.groups import lane
from normjax.study.pace import Pace, remember
from normjax.study.work import Work


class Terminal(io.StringIO):
    """What is written to a terminal, for which it is taken."""

    encoding = "utf-8"

    def isatty(self):
        return True

    def lines(self) -> list[str]:
        """Each state of the line that is written anew, without blanks at its end."""
        return [x.rstrip() for x in re.split(r"[\r\n]", self.getvalue()) if x.strip()]


@pytest.fixture(scope="module")
def study() -> plan.Study:
    """Two norms at two batch sizes."""
    arms = {"norm": ("none", "batch"), "batch_size": (256, 512)}
    return plan.study(normjax.config(num_seeds=3, num_epochs=2, arms=arms))


def work_of(study: plan.Study, number: int = 3) -> list[Work]:
    """A group of all lanes of each arm."""
    return [
        Work(arm, [lane({"learning_rate": 0.1}, seed) for seed in range(number)])
        for arm in study.arms
    ]


def report(accuracy: float, loss: float, number: int = 3) -> dict[str, np.ndarray]:
    """What lanes report whose mean is this."""
    spread = np.linspace(-0.01, 0.01, number)
    return {
        "curves/validation_accuracy": accuracy + spread,
        "curves/train_loss": loss + spread,
    }


def train(shown: Display, work: Work, seconds: float = 1.5) -> None:
    """Two epochs of a group, whose programs take a minute to compile."""
    shown.begin(work)
    shown.train()
    for epoch in (1, 2):
        shown.end_epoch(epoch, report(0.25 * epoch, 2.0), seconds, 60.0 / epoch)


def test_a_terminal_shows_the_state_of_the_arm_in_its_width(study, monkeypatch):
    """Nothing of the time left before it is known; the arms that follow are known."""
    terminal = Terminal()
    monkeypatch.setattr(display.sys, "stderr", terminal)
    monkeypatch.setattr(display, "columns", lambda: 80)
    with Display(work_of(study)[:2], 2) as shown:
        for work in work_of(study)[:2]:
            train(shown, work)
    lines = terminal.lines()
    bar = lambda done: "█" * done + " " * (20 - done)
    assert lines[0] == f"  0%|{bar(0)}| none-256 compiling"
    assert lines[1] == f"  0%|{bar(0)}| none-256 first epoch"
    text = "none-256 2/2  val. accuracy 0.500  loss 2.000  1.00 networks/s  93 s left"
    assert f" 50% {text}" in lines
    assert f" 50%|{bar(10)}| none-512 compiling  93 s left" in lines
    text = "none-512 2/2  val. accuracy 0.500  loss 2.000  1.00 networks/s"
    assert f"100%|{bar(9)[:9]}| {text}" in lines
    assert lines[-1] == f"100%|{bar(20)}| 6 networks trained in 0 s"
    assert all(len(line) < 80 for line in lines)
    assert "\x1b" not in terminal.getvalue()


def test_a_pipe_gets_a_line_for_each_arm_and_no_control_codes(study, capsys):
    first, second, *_ = work_of(study)
    with Display([first, second], 2) as shown:
        train(shown, first)
        half = second._replace(lanes=second.lanes[:2])
        train(shown, half)
        train(shown, half)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "none-256: 3 networks in 0 s, val. accuracy 0.500, loss 2.000, 93 s left\n"
        "none-512: 4 networks in 0 s, val. accuracy 0.500, loss 2.000\n"
    )


def test_an_arm_that_fails_is_one_line_and_has_no_time_left(study, capsys):
    first, second, *_ = work_of(study)
    with Display([first, second], 2) as shown:
        shown.begin(first)
        shown.end_epoch(1, report(0.5, 1.0), 1.0, 0.0)
        shown.skip(first, "ValueError: no")
        train(shown, second)
    assert capsys.readouterr().err.splitlines()[0] == "none-256: failed: ValueError: no"


def test_an_arm_whose_second_group_fails_keeps_the_line_of_its_first(study, capsys):
    """Whether that group failed while it compiled, or after an epoch."""
    for epochs in (0, 1):
        first, *_ = work_of(study)
        with Display([first, first], 2) as shown:
            train(shown, first)
            shown.begin(first)
            for epoch in range(epochs):
                shown.end_epoch(epoch + 1, report(0.9, 1.0), 1.0, 0.0)
            shown.skip(first, "ValueError: no")
        finished, failed, *rest = capsys.readouterr().err.splitlines()
        assert finished == (
            "none-256: 3 networks in 0 s, accuracy 0.500, loss 2.000, 1.00 networks/s"
        )
        assert failed == "none-256: failed: ValueError: no"
        assert rest == []


def test_why_an_arm_failed_is_written_before_it_is_shown(study, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("no")

    def hide(*_):
        raise OSError("the terminal is gone")

    monkeypatch.setattr(run, "train_group", fail)
    monkeypatch.setattr(Display, "skip", hide)
    with pytest.raises(OSError, match="the terminal is gone"):
        run.complete(study, tmp_path, quiet=True)
    assert list(groups.failures(tmp_path).values()) == ["ValueError: no"]


def test_quiet_is_silent_where_no_bar_can_be(study, capsys):
    with Display(work_of(study), 2, quiet=True) as shown:
        train(shown, work_of(study)[0])
    assert capsys.readouterr() == ("", "")


def test_a_study_that_trains_in_a_pipe(tmp_path, capsys):
    """The programs are seen to be compiled, and only the arms are told."""
    arms = {"norm": ("none", "batch")}
    model = {"widths": (4,)}
    config = normjax.config(num_seeds=2, num_epochs=1, model=model, arms=arms)
    assert run.complete(plan.study(config), tmp_path) == {}
    told = capsys.readouterr().err
    number = r"[\d.,]+"
    pattern = rf"2 networks in {number} s, val. accuracy 0\.\d{{3}}, loss {number}"
    first, second = told.splitlines()
    assert re.fullmatch(rf"none: {pattern}, {number} s left", first)
    assert re.fullmatch(rf"batch: {pattern}", second)
    assert "\r" not in told
    assert "\x1b" not in told


@pytest.mark.parametrize("width", [40, 80, 100])
def test_a_line_fits_and_shows_what_can_be_shown(width):
    state = "12/30  accuracy 0.912  loss 0.301  5.51 networks/s  3 min left"
    for arm in ("none", "corrected-third_moment-dropout-256", "a{b}", ""):
        form = display.bar_format(arm, state, width)
        line = display.tqdm.format_meter(37, 100, 1, ncols=width, bar_format=form)
        assert len(line) < width
        assert line.startswith(" 37%")
        if width == 100:
            assert line.endswith(f" {state}")
        if width >= 80 and arm == "a{b}":
            assert " a{b} 12/30" in line


def test_a_name_is_cut_in_its_middle():
    assert display.shortened("corrected-third_moment-dropout", 13) == "correc…ropout"
    assert display.shortened("none", 4) == "none"


def test_the_time_left_is_unknown_at_first_and_compiling_is_no_training(study):
    none, *others = study.arms
    pace = Pace()
    for arm in study.arms:
        pace.want(arm, 10)
    assert pace.seconds_left() is None
    pace.time(none, 2, seconds=4.0, compiling=60.0)
    pace.done(none, 2)
    assert pace.seconds_left() == 8 * 2.0 + len(others) * (10 * 2.0 + 60.0)
    for arm in study.arms:
        pace.done(arm, 10)
    assert pace.seconds_left() == 0.0


def test_an_arm_that_an_earlier_run_began_compiles_again(study):
    """Its time is known from then; in this process it is as new as the others."""
    none, other, *_ = study.arms
    where = {"device": "cpu", "num_devices": 1}
    about = {"id": none.id, "environment": where, "epoch_seconds": [2.0, 2.0]}
    group = groups.Group(about, np.arange(1), {}, np.full(1, -1), {}, {})
    held = groups.Held({(none.id, lane({}, 0)): [(pathlib.Path("x"), group, 0)]}, ())
    pace = Pace()
    pace.want(none, 10)
    pace.want(other, 10)
    remember(pace, study.arms, held, where)
    assert pace.seconds_left() == 2 * 10 * 2.0  # no program was compiled yet
    pace.time(other, 1, seconds=2.0, compiling=60.0)
    pace.done(other, 1)
    assert pace.seconds_left() == 19 * 2.0 + 60.0


def test_an_arm_is_as_fast_as_those_that_are_most_like_it(study):
    """Of the two batch sizes the one that it has; itself, once it is timed."""
    arms = {arm.name: arm for arm in study.arms}
    pace = Pace()
    pace.want(arms["batch-512"], 10)
    pace.time(arms["none-256"], 1, seconds=100.0)
    assert pace.seconds_left() == 1_000.0
    pace.time(arms["none-512"], 1, seconds=1.0)
    assert pace.seconds_left() == 10.0
    pace.time(arms["batch-512"], 1, seconds=3.0)
    assert pace.seconds_left() == 30.0


def test_durations():
    seconds = (0.2, 12.0, 99.0, 100.0, 5_999.0, 15_120.0)
    expected = ("0 s", "12 s", "99 s", "2 min", "100 min", "4.2 h")
    for number, text in itertools.zip_longest(seconds, expected):
        assert display.duration(number) == text
