"""ResNet-20 in PyTorch: compiled, channels last, its data on the device.

A process of its own, so that neither framework takes the other's memory or libraries:

    python -m benchmarks.accelerator.peer --steps=100 --repeats=5

prints one row as JSON. The network, its batches and its optimizer are those of the
workload `resnet20-sgd`. It trains one network; ten one after the other take ten times
as long.
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

WIDTHS, BLOCKS, CLASSES = (16, 32, 64), 3, 10
SHAPE = (3, 32, 32)
PRODUCTS = ("default", "float32", "bfloat16")  # default: TensorFloat-32, as jax has it
MODES = ("default", "reduce-overhead", "eager")  # of torch.compile; the last is without


class Block(nn.Module):
    """Two convolutions, and a shortcut without weights."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.stride, self.added = stride, width - inputs
        self.conv_0 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.norm_0 = nn.BatchNorm2d(width)
        self.conv_1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm_1 = nn.BatchNorm2d(width)

    def forward(self, x):
        """Images of `width` channels."""
        y = torch.relu(self.norm_0(self.conv_0(x)))
        y = self.norm_1(self.conv_1(y))
        x = x[:, :, :: self.stride, :: self.stride]
        return torch.relu(functional.pad(x, (0, 0, 0, 0, 0, self.added)) + y)


def resnet20() -> nn.Module:
    """The network."""
    parts: list[nn.Module] = [
        nn.Conv2d(SHAPE[0], WIDTHS[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(WIDTHS[0]),
        nn.ReLU(),
    ]
    inputs = WIDTHS[0]
    for stage, width in enumerate(WIDTHS):
        for block in range(BLOCKS):
            parts.append(Block(inputs, width, 2 if stage and not block else 1))
            inputs = width
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES)]
    return nn.Sequential(*parts, *pool)


def training_step(network: nn.Module, device: str, products: str):
    """A function of a batch of bytes and labels that takes one step."""
    tx = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
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
    network = resnet20().to(device, memory_format=torch.channels_last)
    compiled = network if mode == "eager" else torch.compile(network, mode=mode)
    step = training_step(compiled, device, products)
    number = steps * batch
    x = torch.randint(0, 256, (number, *SHAPE), dtype=torch.uint8, device=device)
    y = torch.randint(0, CLASSES, (number,), device=device)
    seconds = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        order = torch.randperm(number, device=device).reshape(steps, batch)
        total = sum(step(x[rows], y[rows]) for rows in order)
        float(total)  # waits for the device
        seconds.append(time.perf_counter() - start)
    middle = statistics.median(seconds[1:])
    return {
        "workload": "resnet20-sgd",
        "library": f"PyTorch {torch.__version__}",
        "mode": mode,
        "products": products,
        "parameters": sum(x.numel() for x in network.parameters()),
        "batch": batch,
        "steps": steps,
        "images_per_second": number / middle,
        "seconds": middle,
        "least_seconds": min(seconds[1:]),
        "most_seconds": max(seconds[1:]),
        "compile_seconds": max(seconds[0] - middle, 0.0),
    }


def main() -> None:
    """Prints one row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--products", choices=PRODUCTS, default="default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--mode", choices=MODES, default="default")
    print(json.dumps(measured(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
