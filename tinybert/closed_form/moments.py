"""Least squares from sums of products: any number of tokens in the memory of a few matrices.

The sums are float64 and are added batch by batch, so that neither the batches' size nor their
order matters beyond rounding.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from tinybert.runtime.errors import InputError

CONSTANT = 1e-10  # a variance of so little of the mean square is float32's rounding


class LinearMap(NamedTuple):
    """y = x W^T + b, as torch.nn.Linear has it.

    Attributes:
        weight: W, shape (outputs, inputs).
        bias: b, shape (outputs,).
        unexplained: Share of the targets' variance that the map leaves, from 0 to 1.
    """

    weight: Tensor
    bias: Tensor
    unexplained: float

    def put_into(self, module: Any) -> None:
        """Make it a Linear's or a LayerNorm's weight and bias, if the module has one."""
        with torch.no_grad():
            module.weight.copy_(self.weight)
            if module.bias is not None:
                module.bias.copy_(self.bias)


class Moments:
    """Sums of inputs x, targets y and their products.

    Args:
        num_inputs: Columns of x.
        num_targets: Columns of y.
        device: Where the sums are.
    """

    def __init__(self, num_inputs: int, num_targets: int, device: torch.device) -> None:
        of: dict[str, Any] = {"dtype": torch.float64, "device": device}
        self.count = 0.0
        self.x, self.y = torch.zeros(num_inputs, **of), torch.zeros(num_targets, **of)
        self.xx = torch.zeros(num_inputs, num_inputs, **of)
        self.xy = torch.zeros(num_inputs, num_targets, **of)
        self.yy = torch.zeros(num_targets, **of)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add tokens: x of shape (tokens, inputs), y of shape (tokens, targets)."""
        x, y = x.double(), y.double()
        self.count += len(x)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.xx += x.mT @ x
        self.xy += x.mT @ y
        self.yy += y.square().sum(0)

    def centred(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return x^T x, x^T y and the diagonal of y^T y, all about the means."""
        return (
            self.xx - torch.outer(self.x, self.x) / self.count,
            self.xy - torch.outer(self.x, self.y) / self.count,
            self.yy - self.y.square() / self.count,
        )

    def ridge(self, strength: float, what: str, intercept: bool = True) -> LinearMap:
        """Solve min |y - x W^T - b|^2 + lambda |W|^2.

        Setting the gradient to zero gives, with all sums taken about the means (or about zero,
        without intercept), W^T = (x^T x + lambda 1)^-1 x^T y and b = mean(y) - mean(x) W^T. The
        residual's sum of squares is y^T y - 2 tr(W x^T y) + tr(W x^T x W^T).

        Args:
            strength: lambda as a share of the mean diagonal of x^T x.
            what: Names the map, for the error.
            intercept: Whether there is a b.

        Raises:
            InputError: The inputs are constant.
        """
        xx, xy, yy = self.centred() if intercept else (self.xx, self.xy, self.yy)
        spread = float(xx.diagonal().mean())
        if spread <= CONSTANT * float(self.xx.diagonal().mean()):
            raise InputError(
                f"closed form: {what}: the inputs must vary, got the same one "
                f"{int(self.count):,} times; give more, and more different, texts"
            )
        strength = strength * spread
        eye = torch.eye(len(xx), dtype=xx.dtype, device=xx.device)
        weight = torch.linalg.solve(xx + strength * eye, xy)
        bias = torch.zeros_like(self.y)
        if intercept:
            bias = (self.y - self.x @ weight) / self.count
        residual = yy.sum() - 2 * (weight * xy).sum() + (weight * (xx @ weight)).sum()
        return LinearMap(weight.mT, bias, _share(residual, yy.sum()))


class CoordinateMoments:
    """Sums by which each coordinate is fitted alone: a LayerNorm's gain and bias.

    Args:
        width: Coordinates.
        device: Where the sums are.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self.count = 0.0
        self.sums = torch.zeros(5, width, dtype=torch.float64, device=device)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add tokens: x, y of shape (tokens, width)."""
        x, y = x.double(), y.double()
        self.count += len(x)
        self.sums += torch.stack([of.sum(0) for of in (x, y, x * x, x * y, y * y)])

    def fit(self, what: str) -> LinearMap:
        """Solve min (y_j - g_j x_j - b_j)^2: g_j = cov(x_j, y_j) / var(x_j).

        Args:
            what: Names the map, for the error.

        Returns:
            g as `weight` and b as `bias`, both of shape (width,).

        Raises:
            InputError: A coordinate is constant.
        """
        x, y, xx, xy, yy = self.sums / self.count
        variance = xx - x * x
        constant = (variance <= CONSTANT * xx.clamp(min=1e-30)).nonzero().flatten().tolist()
        if constant:
            raise InputError(
                f"closed form: {what}: a coordinate must vary over the tokens, got coordinate "
                f"{constant[0]} constant; give more, and more different, texts"
            )
        gain = (xy - x * y) / variance
        left = (yy - y * y).sum() - (gain * (xy - x * y)).sum()
        return LinearMap(gain, y - gain * x, _share(left, (yy - y * y).sum()))


def _share(residual: Tensor, total: Tensor) -> float:
    return min(1.0, max(0.0, float(residual / total.clamp(min=1e-30))))
