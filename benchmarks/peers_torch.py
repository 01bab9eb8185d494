"""The same networks in PyTorch, trained as its users do. Does not import jax.

Images lie in memory as float32, a batch is gathered by its rows, the optimizer is the
fused one of `torch.optim` where there is one. Compiled, `torch.compile` takes the model
and the loss; eager, nothing.
"""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.workloads import Workload

EPS = 1e-5  # of batch norm, here and in normjax


class Block(nn.Module):
    """Two convolutions of a ResNet, and a shortcut without weights (option A)."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        fields = {"padding": 1, "bias": False}
        self.stride, self.added = stride, width - inputs
        self.conv_0 = nn.Conv2d(inputs, width, 3, stride, **fields)
        self.norm_0 = nn.BatchNorm2d(width, EPS)
        self.conv_1 = nn.Conv2d(width, width, 3, **fields)
        self.norm_1 = nn.BatchNorm2d(width, EPS)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm_0(self.conv_0(x)))
        y = self.norm_1(self.conv_1(y))
        if self.stride > 1 or self.added:
            x = x[:, :, :: self.stride, :: self.stride]
            x = nn.functional.pad(x, (0, 0, 0, 0, 0, self.added))
        return torch.relu(x + y)


def mlp(work: Workload) -> nn.Module:
    """Linear, norm and ReLU per hidden layer."""
    height, width, channels = work.image
    sizes, parts = (height * width * channels, *work.widths), []
    for n, m in itertools.pairwise(sizes):
        norm = [nn.BatchNorm1d(m, EPS)] if work.norm == "batch" else []
        parts += [nn.Linear(n, m), *norm, nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *parts, nn.Linear(sizes[-1], 10))


def cnn(work: Workload) -> nn.Module:
    """Convolution, norm, ReLU and pooling in the order of the placement."""
    parts: list[nn.Module] = []
    size, _, channels = work.image
    for i, (n, m) in enumerate(itertools.pairwise((channels, *work.widths))):
        pool: list[nn.Module] = []
        if (i + 1) % work.convs_per_pool == 0:
            pool, size = [nn.MaxPool2d(2)], size // 2
        norm = [nn.BatchNorm2d(m, EPS)] if work.norm == "batch" else []
        parts.append(nn.Conv2d(n, m, work.kernel_size, padding=work.kernel_size // 2))
        pooled = work.placement == "pooled"
        parts += [nn.ReLU(), *pool, *norm] if pooled else [*norm, nn.ReLU(), *pool]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(m * size * size, 10))


def resnet20(work: Workload) -> nn.Module:
    """The ResNet of nine blocks."""
    width = work.widths[0]
    first = nn.Conv2d(work.image[-1], width, 3, padding=1, bias=False)
    parts: list[nn.Module] = [first, nn.BatchNorm2d(width, EPS), nn.ReLU()]
    inputs = width
    for stage, width in enumerate(work.widths):
        for block in range(3):
            parts.append(Block(inputs, width, 2 if stage > 0 and block == 0 else 1))
            inputs = width
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*parts, *pool, nn.Linear(width, 10))


MODELS = {"mlp": mlp, "cnn": cnn, "resnet20": resnet20}


class ThirdMoment(torch.optim.Optimizer):
    """Adam with `eps * cbrt(third_hat)` added to the denominator, by foreach.

    The formula is that of `normjax.optimizers.transforms.scale_by_third_moment`; what
    divides the moments by `1 - decay^t` is folded into three factors, so that no pass
    over memory is spent on it. They are tensors, and so the step is compiled once.
    """

    def __init__(self, params, lr=1e-3, decays=(0.9, 0.999, 0.999987), eps=1e-8):
        super().__init__(params, {"lr": lr, "decays": decays, "eps": eps})
        self.count = 0
        self.change = change
        for group in self.param_groups:
            weights = group["params"]
            group["moments"] = [[torch.zeros_like(w) for w in weights] for _ in decays]

    def step(self) -> None:
        """One step on the gradients that the parameters have."""
        self.count += 1
        for group in self.param_groups:
            eps, decays = group["eps"], group["decays"]
            gain, *others = (1 / (1 - decay**self.count) for decay in decays)
            each = others[0] ** (1 / 2), eps, eps * others[1] ** (1 / 3)
            factors = [torch.tensor(x / (-group["lr"] * gain)) for x in each]
            grads = [w.grad for w in group["params"]]
            self.change(group["params"], grads, group["moments"], decays, factors)


@torch.no_grad()
def change(params, grads, moments, decays, factors) -> None:
    """`params <- params + mu / (a sqrt(nu) + b + c cbrt(third))`, factors `a, b, c`."""
    power = grads
    for average, decay in zip(moments, decays):
        torch._foreach_lerp_(average, power, 1 - decay)
        power = torch._foreach_mul(power, grads)
    mu, nu, third = moments
    denominator = torch._foreach_sqrt(nu)
    torch._foreach_mul_(denominator, factors[0])
    torch._foreach_add_(denominator, factors[1])
    roots = torch._foreach_abs(third)
    torch._foreach_pow_(roots, 1 / 3)
    torch._foreach_mul_(roots, torch._foreach_sign(third))
    torch._foreach_mul_(roots, factors[2])
    torch._foreach_add_(denominator, roots)
    torch._foreach_addcdiv_(params, mu, denominator)


OPTIMIZERS: dict[str, Callable] = {
    "sgd": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, fused=True),
    "adam": lambda p, lr: torch.optim.Adam(p, lr, fused=True),
    "third_moment": ThirdMoment,
}


def inputs(work: Workload, x: np.ndarray) -> Tensor:
    """Images in [0, 1]: with channels last, in which convolutions are fastest."""
    images = torch.from_numpy(x.astype(np.float32) / 255)
    return images if work.model == "mlp" else images.permute(0, 3, 1, 2)


def start(
    work: Workload, x: np.ndarray, y: np.ndarray, *, compiled: bool
) -> Callable[[int], float]:
    """A function that trains one network for some steps and returns their mean loss."""
    images, labels = inputs(work, x), torch.from_numpy(y.astype(np.int64))
    model = MODELS[work.model](work)
    if work.model != "mlp":
        model = model.to(memory_format=torch.channels_last)
    tx = OPTIMIZERS[work.optimizer](model.parameters(), work.learning_rate)

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(images), labels)

    if compiled:
        loss_of = torch.compile(loss_of)
        if work.optimizer == "third_moment":
            tx.change = torch.compile(change)

    def train(num_steps: int) -> float:
        order, total = torch.randperm(len(labels)), torch.zeros(())
        for i in range(num_steps):
            rows = order[i * work.batch_size : (i + 1) * work.batch_size]
            tx.zero_grad()
            loss = loss_of(images[rows], labels[rows])
            loss.backward()
            tx.step()
            total += loss.detach()
        return float(total) / num_steps

    return train
