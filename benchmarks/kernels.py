"""Count what a step asks of a device, on a CPU: operations by part, waits for the device, copies.

An operation that makes or changes values counts as one kernel; views and empty tensors do not. What
a CPU does otherwise than CUDA is put right where it can be: fused attention stands for itself with
dropout too, and dropout is torch's own. Left as they are: a matrix product's own extra kernels, the
padding of masks to multiples of 8 inside CUDA's attention, fused optimizers and `_foreach`
functions that need several launches for many tensors, and autocast, whose lists for CUDA send
LayerNorm and softmax to float32.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# On CUDA the host reads a value, or the size of a result, so it waits for all that was launched.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "is_nonzero"}
# The same from Python, which on a CPU calls no operation.
WAITING_METHODS = {Tensor.tolist, Tensor.numpy, Tensor.cpu}
WITHOUT_KERNEL = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
WITHOUT_KERNEL |= {"_record_function_enter_new", "_record_function_exit", "scalar_tensor", "detach", "lift_fresh", "_unsafe_view", "_local_scalar_dense", "set_", "view"}
OTHER = "bookkeeping"  # what no named part encloses


@dataclass
class Counts:
    """What one step asked for.

    Attributes:
        kernels: Operations by part and name.
        waits: Reads of a value on the device, by part and name.
        copies: Tensors that go from the host to the device, by part.
    """

    kernels: Counter[tuple[str, str]] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)

    @property
    def by_part(self) -> dict[str, int]:
        """Kernels of each part, in the order in which parts began."""
        found: Counter[str] = Counter()
        for (part, _), number in self.kernels.items():
            found[part] += number
        return dict(found)


class Counting(TorchDispatchMode):
    """Counts the operations in its block, each for the innermost part that is running."""

    def __init__(self) -> None:
        super().__init__()
        self.counts, self.part = Counts(), OTHER

    def restart(self) -> Counts:
        """Begin to count anew; return what was counted."""
        counted, self.counts = self.counts, Counts()
        return counted

    @contextmanager
    def within(self, part: str) -> Iterator[None]:
        """Count for a part."""
        outer, self.part = self.part, part
        try:
            yield
        finally:
            self.part = outer

    def counted(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose operations count for a part."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with self.within(part):
                return call(*args, **kwargs)

        return run

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count an operation and let it pass."""
        name = func.overloadpacket.__name__
        if name in WAITING or _masked(name, args):
            self.counts.waits[self.part, name] += 1
        if name == "lift_fresh":  # a tensor made of Python's numbers
            self.counts.copies[self.part] += 1
        if not (func.is_view or name in WITHOUT_KERNEL):
            self.counts.kernels[self.part, name] += 1
        return func(*args, **(kwargs or {}))


def _masked(name: str, args: Any) -> bool:
    """Return whether values are picked by a mask, whose number a device must tell first."""
    if name not in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return False
    return any(index is not None and index.dtype == torch.bool for index in args[1])


class _AsOnCuda(TorchFunctionMode):
    """Fused attention with dropout too, and methods that read values."""

    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self.counting = counting

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Change attention's call, note reading, let all pass."""
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            kwargs["dropout_p"] = 0.0  # on CUDA dropout is in the same kernel
        if func in WAITING_METHODS:
            self.counting.counts.waits[self.counting.part, func.__name__] += 1
        return func(*args, **kwargs)


@contextmanager
def counting() -> Iterator[Counting]:
    """Count in the block, with dropout and attention as on CUDA."""
    found = Counting()
    with ExitStack() as stack:
        stack.enter_context(patch("tinybert.training.phase_trainer.CpuDropout", _Nothing))
        stack.enter_context(_AsOnCuda(found))
        stack.enter_context(found)
        yield found


class _Nothing(AbstractContextManager[None]):
    def __exit__(self, *_: object) -> None:
        return None
