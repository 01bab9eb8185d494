"""Tables in the width of a terminal: nothing is cut, and nothing is too wide."""

import itertools

import pytest

from normjax.report import formats, terminal

HEADER = ["arm", "accuracy", "loss", "seconds"]
ROWS = [["corrected-batch", "0.91", "0.3", "12"], ["none", "0.9", "-", "1,200"]]


def test_a_table_that_fits_is_one_block():
    whole = formats.plain_table(HEADER, ROWS)
    width = max(map(len, whole.splitlines()))
    assert terminal.table(HEADER, ROWS, width) == whole
    assert terminal.table(HEADER, ROWS, width - 1) != whole


def test_what_does_not_fit_comes_below_with_the_first_column_again():
    assert terminal.table(HEADER, ROWS, 33) == (
        "arm              accuracy  loss\n"
        "---------------  --------  ----\n"
        "corrected-batch      0.91   0.3\n"
        "none                  0.9     -\n"
        "\n"
        "arm              seconds\n"
        "---------------  -------\n"
        "corrected-batch       12\n"
        "none               1,200\n"
    )


def test_every_block_says_at_which_setting_its_rows_are():
    header = ["arm", "rate", "accuracy", "loss"]
    rows = [["none", "0.1", "0.91", "0.3"], ["none", "0.3", "0.90", "0.4"]]
    assert terminal.table(header, rows, 21, num_names=2) == (
        "arm   rate  accuracy\n"
        "----  ----  --------\n"
        "none   0.1      0.91\n"
        "none   0.3      0.90\n"
        "\n"
        "arm   rate  loss\n"
        "----  ----  ----\n"
        "none   0.1   0.3\n"
        "none   0.3   0.4\n"
    )


@pytest.mark.parametrize("width", [10, 25, 33, 60])
def test_every_cell_is_there_once_whatever_the_width(width):
    """A column that is too wide by itself has a block of its own."""
    told = terminal.table(HEADER, ROWS, width).split()
    for cell in itertools.chain(HEADER[1:], *(row[1:] for row in ROWS)):
        assert told.count(cell) == 1
    assert terminal.table(["arm"], [["none"]], width) == "arm\n----\nnone\n"


def test_the_width_is_that_of_the_terminal_within_limits(monkeypatch):
    for given, expected in (("100", 100), ("20", 60)):
        monkeypatch.setenv("COLUMNS", given)
        assert terminal.columns() == expected
