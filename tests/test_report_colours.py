"""The colours of charts are told apart by readers of every kind of colour vision."""

import itertools
import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from normjax.report import browser, layout, still_marks

VISION = {  # of linear RGB: Machado, Oliveira and Fernandes, 2009, severity 1
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
XYZ = np.array(  # of linear sRGB, D65
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
LEAST = 10.0  # of CIEDE2000 between two colours; 1 is just noticeable
INK = {"light": "#1b1f24", "dark": "#e6e9ec"}
PAGE = {"light": "#ffffff", "dark": "#14171a"}


def linear(colour: str) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(colour: str, vision: str) -> np.ndarray:
    """CIELAB of a colour as a reader with that vision sees it."""
    light = np.clip(VISION[vision] @ linear(colour), 0, 1)
    t = XYZ @ light / (XYZ @ np.ones(3))
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(first: np.ndarray, second: np.ndarray) -> float:
    """The difference of two colours in CIELAB (Sharma, Wu and Dalal, 2005)."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    more = 1.5 - 0.5 * np.sqrt(chroma**7 / (chroma**7 + 25**7))
    c1, c2 = np.hypot(more * a1, b1), np.hypot(more * a2, b2)
    h1, h2 = (
        np.degrees(np.arctan2(b, more * a)) % 360 for a, b in ((a1, b1), (a2, b2))
    )
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    middle = (h1 + turn / 2) % 360 if c1 * c2 else h1 + h2
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    t = 1 + sum(
        weight * np.cos(np.radians(times * middle + shift))
        for weight, times, shift in (
            (-0.17, 1, -30),
            (0.24, 2, 0),
            (0.32, 3, 6),
            (-0.20, 4, -63),
        )
    )
    in_light = (l2 - l1) / (
        1 + 0.015 * (light - 50) ** 2 / np.hypot(20**0.5, light - 50)
    )
    in_chroma, in_hue = (c2 - c1) / (1 + 0.045 * chroma), hue / (1 + 0.015 * chroma * t)
    angle = 60 * np.exp(-(((middle - 275) / 25) ** 2))
    cross = -2 * np.sqrt(chroma**7 / (chroma**7 + 25**7)) * np.sin(np.radians(angle))
    return float(
        np.sqrt(in_light**2 + in_chroma**2 + in_hue**2 + cross * in_chroma * in_hue)
    )


def palette(scheme: str) -> list[str]:
    """The colours of the page's style sheet: the last ones that it gives, for dark."""
    light, dark, *_ = re.findall(r":root \{(.*?)\}", browser.styles(), re.DOTALL)
    found = dict(re.findall(r"--(c\d): (#\w+|var\(--ink\))", light))
    if scheme == "dark":
        found |= dict(re.findall(r"--(c\d): (#\w+)", dark))
    colours = [found[f"c{i}"] for i in range(layout.COLOURS)]
    return [INK[scheme] if x.startswith("var") else x for x in colours]


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [  # of the data that Sharma, Wu and Dalal publish to test programs
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (61, -5, 29), 22.8977),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ],
)
def test_the_difference_is_that_of_the_standard(first, second, difference):
    assert ciede2000(np.array(first), np.array(second)) == pytest.approx(
        difference, abs=5e-5
    )


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_any_two_colours_of_a_panel_are_told_apart(scheme, vision):
    labs = [lab(colour, vision) for colour in palette(scheme)]
    assert len(labs) == layout.COLOURS
    assert min(ciede2000(a, b) for a, b in itertools.combinations(labs, 2)) > LEAST


def test_a_red_and_a_green_that_the_colour_blind_confuse_would_be_noticed():
    first, second = (lab(x, "deuteranopia") for x in ("#b0672b", "#7a8a1d"))
    assert ciede2000(first, second) < LEAST


@pytest.mark.parametrize(("scheme", "least"), [("light", 2.2), ("dark", 3.0)])
def test_every_colour_stands_out_from_the_page(scheme, least):
    """WCAG asks for 3; two colours of Okabe and Ito have 2.2 and 2.3 on white."""
    page = linear(PAGE[scheme]) @ XYZ[1]
    for colour in palette(scheme):
        low, high = sorted([page, linear(colour) @ XYZ[1]])
        assert (high + 0.05) / (low + 0.05) > least


def test_stills_and_page_have_the_same_colours():
    of_page = [x if x != INK["light"] else still_marks.INK for x in palette("light")]
    assert [x.lower() for x in still_marks.COLOURS] == [x.lower() for x in of_page]
