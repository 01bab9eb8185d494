"""ResNet-20 in PyTorch: compiled, channels last, its data on the device.

A process of its own, so that neither framework takes the other's memory or libraries:

    python -m benchmarks.accelerator.peer --steps=100 --repeats=5

prints one row as JSON. The network, its batches and its optimizer are those of the
workload `resnet20-sgd`, as `benchmarks.peers_torch` has them. It trains one network;
ten one after the other take ten times as long.
"""

import argparse
import json
import time

import torch
from torch import nn
from torch.nn import functional

from benchmarks import peers_torch
from benchmarks.timing import spread
from benchmarks.workloads import WORKLOADS

WORKLOAD = "resnet20-sgd"
CLASSES = 10
PRECISIONS = ("default", "float32", "bfloat16")  # default: TensorFloat-32, as jax's
MODES = ("default", "reduce-overhead", "eager")  # of torch.compile; the last is without


def training_step(network: nn.Module, device: str, products: str):
    """A function of a batch of bytes and labels that takes one step."""
    work = WORKLOADS[WORKLOAD]
    optimizer = peers_torch.OPTIMIZERS[work.optimizer]
    tx = optimizer(network.parameters(), work.learning_rate)
    half = products == "bfloat16"

    def step(x, y):
        with torch.autocast(device, torch.bfloat16, enabled=half):
            images = x.to(torch.float32).div(255)
            images = images.contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(network(images), y)
        tx.zero_grad()
        loss.backward()
        tx.step()
        return loss.detach()

    return step


def measured(
    *, steps: int, batch: int, repeats: int, products: str, device: str, mode: str
) -> dict:
    """Images per second of epochs after the first, which compiles."""
    torch.backends.cudnn.benchmark = True
    exact = products == "float32"
    torch.set_float32_matmul_precision("highest" if exact else "high")
    torch.backends.cudnn.allow_tf32 = not exact
    work = WORKLOADS[WORKLOAD]
    network = peers_torch.MODELS[work.model](work)
    network = network.to(device, memory_format=torch.channels_last)
    compiled = network if mode == "eager" else torch.compile(network, mode=mode)
    step = training_step(compiled, device, products)
    number = steps * batch
    height, width, channels = work.image
    shape = number, channels, height, width
    x = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    y = torch.randint(0, CLASSES, (number,), device=device)
    seconds = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        order = torch.randperm(number, device=device).reshape(steps, batch)
        total = sum(step(x[rows], y[rows]) for rows in order)
        float(total)  # waits for the device
        seconds.append(time.perf_counter() - start)
    median, least, most = spread(seconds[1:])
    return {
        "workload": WORKLOAD,
        "library": f"PyTorch {torch.__version__}",
        "mode": mode,
        "products": products,
        "parameters": sum(x.numel() for x in network.parameters()),
        "batch": batch,
        "steps": steps,
        "images_per_second": number / median,
        "seconds": median,
        "least_seconds": least,
        "most_seconds": most,
        "compile_seconds": max(seconds[0] - median, 0.0),
    }


def main() -> None:
    """Prints one row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--products", choices=PRECISIONS, default="default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--mode", choices=MODES, default="default")
    print(json.dumps(measured(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
