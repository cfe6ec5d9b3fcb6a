"""Count what a step asks of a GPU, on a CPU: kernels by part, waits for the device, copies to it.

An operation that makes or changes values counts as one kernel; views and empty tensors do not. What
a CPU does otherwise is done as on CUDA where it can be: attention is one operation with dropout
too, layers have torch's own dropout, rows are padded as on a GPU, and no value is looked at that
only a CPU looks at. Left as they are: the kernels that one matrix product, fused optimizer or
`_foreach` function may need several of, and autocast's list of operations, which on CUDA sends
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

from tinybert.text.batching import LENGTH_MULTIPLE

# The host reads a value, or the size of a result, so it waits for all that was launched.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "is_nonzero"}
# The same from Python, which on a CPU calls no operation.
WAITING_METHODS = {Tensor.tolist, Tensor.numpy, Tensor.cpu}
PICKING = {"index", "index_put", "index_put_", "_index_put_impl_"}  # wait if by a mask
ALLOCATING = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
ON_HOST = {"scalar_tensor", "lift_fresh", "_local_scalar_dense"}
NO_KERNEL = {*ALLOCATING, *ON_HOST, "detach", "_unsafe_view", "set_"}
DROPOUT = "tinybert.training.phase_trainer.CpuDropout"
BOOKKEEPING, HOST = "bookkeeping", "host"  # in no named part; where tensors are the host's own


@dataclass
class Counts:
    """What one step asked for.

    Attributes:
        kernels: Operations by part and name.
        waits: Reads of a device's value, by part and name.
        copies: Tensors that go from the host to the device.
    """

    kernels: Counter[tuple[str, str]] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    copies: int = 0

    @property
    def by_part(self) -> Counter[str]:
        """Kernels of each part, in the order in which parts began."""
        found: Counter[str] = Counter()
        for (part, _), number in self.kernels.items():
            found[part] += number
        return found


class Counting(TorchDispatchMode):
    """Counts the operations in its block, each for the innermost part that is running."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts, self.part = Counts(), BOOKKEEPING

    def restart(self) -> Counts:
        """Begin to count anew; return what was counted."""
        counted, self.counts = self.counts, Counts()
        return counted

    def within(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose operations count for a part."""

        def run(*args: Any, **kwargs: Any) -> Any:
            outer, self.part = self.part, part
            try:
                return call(*args, **kwargs)
            finally:
                self.part = outer

        return run

    def wait(self, name: str) -> None:
        """Count a read of a device's value."""
        if self.part != HOST:
            self.counts.waits[self.part, name] += 1

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count an operation and let it pass."""
        name = func.overloadpacket.__name__
        if name in WAITING or (name in PICKING and _by_mask(args[1])):
            self.wait(name)
        if self.part != HOST:
            self.counts.copies += name == "lift_fresh"  # a tensor of Python's numbers
            internal = name.startswith("_record_function")
            if not (func.is_view or internal or name in NO_KERNEL):
                self.counts.kernels[self.part, name] += 1
        return func(*args, **(kwargs or {}))


def _by_mask(indices: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)


class _AsOnCuda(TorchFunctionMode):
    """Attention as one operation, in training too; and methods that read values."""

    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self.counting = counting

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        """Change attention's call, count reading, let all pass."""
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            kwargs["dropout_p"] = 0.0  # which a CPU's fused kernel has none of
        if func in WAITING_METHODS:
            self.counting.wait(func.__name__)
        return func(*args, **kwargs)


class OwnDropout(AbstractContextManager[None]):
    """Stands where training on a CPU changes dropout, and changes nothing."""

    def __exit__(self, *_: object) -> None:
        return None


@contextmanager
def counting() -> Iterator[Counting]:
    """Count in the block what would happen on a GPU."""
    found = Counting()
    with ExitStack() as stack:
        stack.enter_context(patch(DROPOUT, OwnDropout))
        stack.enter_context(patch("tinybert.runtime.precision.reads_at_once", lambda device: False))
        stack.enter_context(patch.dict(LENGTH_MULTIPLE, cpu=LENGTH_MULTIPLE["cuda"]))
        stack.enter_context(_AsOnCuda(found))
        stack.enter_context(found)
        yield found
