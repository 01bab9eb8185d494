"""What is measured, in the order of its worth, and what each is expected to take.

The seconds are guesses for one H100 before anything was measured there. Nearly all of
them go into compiling: a program of an MLP is taken to need 5 s, of a CNN 12, of
ResNet-20 35, with two to three for the initial kernels and the order of the examples.
Nine minutes are then spent so:

    limits of the device, agreement of an MLP        40 s    8 programs
    MLP: 1 to 1,000 lanes, mapped or not             42      6
    study 1, 120 networks, twice                    100     12
    ResNet-20, ten seeds, and PyTorch               174      4
    CNNs: mappings and convolutions                  75      5
    agreement of a CNN                               40      3
    400 networks of init_scale, twice                30      2
    norms                                            24     16

The rest of the list, as much again, is for a second run in the same folder, or for the
first if compiling is faster than that: further mappings, convolutions alone, other
optimizers, precisions, and numbers of lanes.

What is left out as it tells nothing: one lane mapped (it is one lane vmapped), more
than ten lanes one after the other (their time is proportional), and `images`, `planes`
and `winograd` in a whole network, which are for the caches of a core: a convolution
alone shows what each of them costs.
"""

import functools
import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks.accelerator import agreement, parts, studies, training
from benchmarks.accelerator.ledger import Absent, CutOff, Measurement, Row
from benchmarks.accelerator.sizes import Size
from benchmarks.accelerator.training import Setup
from normjax.study.timings import MAPPINGS

COMPILING = {"mlp": 7, "cnn": 15, "resnet20": 38}  # seconds of a row of training
MOST_MAPPED = 10  # lanes one after the other
LONGEST = 240  # seconds of PyTorch's process


Left = Callable[[], float]  # seconds until the minutes are over


def measurements(
    size: Size, data_dir: str, *, left: Left = lambda: math.inf
) -> list[Measurement]:
    """All of them, or a few; of equal names only the first is kept."""
    study = lambda name: functools.partial(studies.study_rows, name, size, data_dir)
    agree = lambda name: functools.partial(agreement.agreement_rows, name, size)
    found = [
        Measurement("ceilings", "ceilings", 15, lambda: parts.ceilings(size)),
        Measurement("agreement/mlp", "agreement", 25, agree("mlp-batch-sgd")),
        *mlp_lanes(size),
        Measurement("study/optimizers", "studies", 100, study("optimizers")),
        *resnet(size, left),
        *convolutional(size),
        Measurement("agreement/cnn", "agreement", 40, agree("cnn-5x5-sgd")),
        Measurement("study/init_scale", "studies", 30, study("init_scale")),
        *(alone("norm", name, 6, parts.norm_rows, size) for name in parts.NORMS),
        *new_mappings(size),
        *(
            alone("convolution", name, 15, parts.convolution_rows, size)
            for name in parts.CONVOLUTIONS
        ),
        *others(size),
        pytorch(size, "default", "reduce-overhead", left),
        pytorch(size, "bfloat16", "default", left),
    ]
    if not size.every_setup:
        return telling(found)
    unique: dict[str, Measurement] = {}
    for one in found:
        unique.setdefault(one.name, one)
    return list(unique.values())


def telling(found: list[Measurement]) -> list[Measurement]:
    """Of the rows of training those with something in their name that is new."""
    seen: set[str] = set()
    kept = []
    for one in found:
        parts = set(one.name.split("/"))
        if one.table != "training" or not parts <= seen:
            kept.append(one)
            seen |= parts
    return kept


def mlp_lanes(size: Size) -> list[Measurement]:
    """How the time of an MLP grows with its lanes, vmapped and mapped."""
    name = "mlp-sgd"
    lanes = (10, 1, 100, 1_000)
    return [
        *(trained(name, Setup(number), size) for number in lanes),
        trained(name, Setup(MOST_MAPPED, "map"), size),
        trained("mlp-adam", Setup(100), size),
    ]


def resnet(size: Size, left: Left) -> list[Measurement]:
    """ResNet-20, ten seeds, in the ways that may be fastest, and PyTorch's."""
    name = "resnet20-sgd"
    return [
        trained(name, Setup(10, "vmap", "patches"), size),
        trained(name, Setup(10, "map", "lax"), size),
        pytorch(size, "default", "default", left),
        trained(name, Setup(10, "map", "lax", "bfloat16"), size),
    ]


def convolutional(size: Size) -> list[Measurement]:
    """The two CNNs, ten lanes: vmapped or mapped, `lax` or `patches`."""
    choices = {
        "cnn-5x5-sgd": [("vmap", "patches"), ("map", "lax"), ("vmap", "lax")],
        "cnn-3x3-sgd": [("vmap", "patches"), ("map", "lax")],
    }
    return [
        trained(name, Setup(10, *choice), size)
        for name, those in choices.items()
        for choice in those
    ]


def new_mappings(size: Size) -> list[Measurement]:
    """Each of `MAPPINGS` that is not measured elsewhere, at 10 to 1,000 lanes."""
    new = [name for name in MAPPINGS if name not in ("map", "vmap")]
    return [
        *(
            trained("mlp-sgd", Setup(lanes, mapping), size)
            for mapping in new
            for lanes in (10, 100, 1_000)
        ),
        *(
            trained("cnn-5x5-sgd", Setup(lanes, mapping, "lax"), size)
            for mapping in new
            for lanes in (10, 100)
        ),
    ]


def others(size: Size) -> list[Measurement]:
    """Other optimizers, numbers of lanes and precisions."""
    setups = [
        ("mlp-adam", Setup(10)),
        ("mlp-third-moment", Setup(100)),
        ("mlp-batch-sgd", Setup(100)),
        ("mlp-sgd", Setup(100, products="float32")),
        ("mlp-sgd", Setup(100, products="bfloat16")),
        ("cnn-5x5-sgd", Setup(100, "vmap", "patches")),
        ("cnn-5x5-sgd", Setup(1, "vmap", "lax")),
        ("cnn-3x3-sgd", Setup(10, "map", "lax", "bfloat16")),
        ("cnn-3x3-sgd", Setup(10, "map", "lax", "float32")),
        ("cnn-3x3-sgd", Setup(10, "vmap", "lax")),
        ("resnet20-sgd", Setup(1, "vmap", "lax")),
        ("resnet20-sgd", Setup(10, "vmap", "lax")),
        ("resnet20-sgd", Setup(10, "vmap", "patches", "bfloat16")),
        ("deep-mlp-adam", Setup(100)),
        ("deep-mlp-adam", Setup(1_000)),
        ("mlp-batch-adam", Setup(100)),
        ("mlp-batch-third-moment", Setup(100)),
        ("mlp-third-moment", Setup(10)),
        ("mlp-adam", Setup(1_000)),
        ("cnn-5x5-sgd", Setup(10, "map", "patches")),
        ("cnn-3x3-sgd", Setup(10, "map", "patches")),
        ("cnn-3x3-sgd", Setup(1, "vmap", "lax")),
        ("cnn-5x5-sgd", Setup(1_000, "vmap", "lax")),
        ("resnet20-sgd", Setup(10, "map", "lax", "float32")),
    ]
    return [trained(name, setup, size) for name, setup in setups]


def trained(name: str, setup: Setup, size: Size) -> Measurement:
    """A row of training."""
    setup = setup._replace(lanes=min(setup.lanes, size.most_lanes))
    parts = map(str, ("training", name, *setup))
    seconds = COMPILING[training.WORKLOADS[name].model]
    measure = functools.partial(training.training_row, name, setup, size)
    return Measurement("/".join(parts), "training", seconds, measure)


def alone(
    kind: str, name: str, seconds: float, measure: Callable, size: Size
) -> Measurement:
    """A norm or a convolution by itself."""
    rows = functools.partial(measure, size, name)
    return Measurement(f"{kind}/{name}", f"{kind}s", seconds, rows)


def pytorch(size: Size, products: str, mode: str, left: Left) -> Measurement:
    """ResNet-20 in PyTorch."""
    measure = functools.partial(pytorch_row, size, products, mode, left)
    return Measurement(f"pytorch/{products}/{mode}", "pytorch", 60, measure)


def pytorch_row(size: Size, products: str, mode: str, left: Left) -> Iterator[Row]:
    """The row that `peer` prints, in a process of its own.

    Raises:
        Absent: PyTorch or its support of this device is not installed.
        CutOff: it takes longer than LONGEST, or than the minutes.
    """
    if importlib.util.find_spec("torch") is None:
        raise Absent("PyTorch is not installed")
    probe = "import torch; print(torch.cuda.is_available())"
    if output("-c", probe, seconds=left()).strip() != "True":
        raise Absent("PyTorch finds no CUDA device")
    work = training.workload_for("resnet20-sgd", size)
    steps = training.num_steps(work, 1, size)
    options = {"steps": steps, "batch": work.batch_size, "repeats": size.repeats}
    options |= {"products": products, "mode": mode}
    flags = [f"--{name}={value}" for name, value in options.items()]
    yield json.loads(
        output("-m", "benchmarks.accelerator.peer", *flags, seconds=left())
    )


def output(*arguments: str, seconds: float = LONGEST) -> str:
    """What a Python process prints that may take so long, and LONGEST at most."""
    command, limit = [sys.executable, *arguments], min(seconds, LONGEST)
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        why = f"its process was not finished after {max(limit, 0):.0f} s"
        raise CutOff(why) from None
    if ran.returncode:
        raise RuntimeError((ran.stderr.strip().splitlines() or ["no output"])[-1])
    return ran.stdout
