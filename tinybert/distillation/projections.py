"""W_h and W_e (Eq. 8 and 9): from the student's width to the teacher's."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tinybert.runtime.errors import InputError, in_one_line
from tinybert.settings.choices import Projection


class Projections(nn.Module):
    """W_h and W_e: the student's width to the teacher's (Eq. 8 and 9). Never in the saved student.

    Args:
        num_layers: M, the student's layers.
        width_S: The student's width.
        width_T: The teacher's width.
        kind: One W_h per layer, one for all layers, or none where the widths are equal.

    Raises:
        InputError: "identity" with unequal widths.
    """

    def __init__(self, num_layers: int, width_S: int, width_T: int, kind: Projection) -> None:
        super().__init__()
        if kind == "identity" and width_S != width_T:
            raise InputError(
                f"projection: identity needs equal widths, got student {width_S} and teacher "
                f"{width_T}; write per_layer or shared"
            )
        if kind == "identity":
            self.embedding_projection: nn.Module = nn.Identity()
            self.hidden_projection = nn.ModuleList([nn.Identity()])
        else:
            num_matrices = num_layers if kind == "per_layer" else 1
            self.embedding_projection = nn.Linear(width_S, width_T, bias=False)
            self.hidden_projection = nn.ModuleList(
                nn.Linear(width_S, width_T, bias=False) for _ in range(num_matrices)
            )

    def hidden(self, layer: int, hidden_S: Tensor) -> Tensor:
        """Project the output of student layer `layer`, counted from 1."""
        index = layer - 1 if len(self.hidden_projection) > 1 else 0
        return cast(Tensor, self.hidden_projection[index](hidden_S))

    def hidden_of_layers(self, layers: Sequence[int], hidden_S: Tensor) -> Tensor:
        """Project the outputs of layers, one layer's rows after another's, in one product."""
        if len(layers) == 1 or len(self.hidden_projection) == 1:
            return self.hidden(layers[0], hidden_S)
        matrices = [self.hidden_projection[layer - 1].weight for layer in layers]
        weights = torch.stack(cast(list[Tensor], matrices))
        by_layer = hidden_S.unflatten(0, (len(layers), -1)).flatten(1, 2)
        projected: Tensor = by_layer @ weights.mT
        return projected.view(*hidden_S.shape[:-1], -1)

    def embedding(self, embedding_S: Tensor) -> Tensor:
        """Project the student's embedding output."""
        return cast(Tensor, self.embedding_projection(embedding_S))

    def save(self, file: Path) -> None:
        """Write the matrices, for the next phase to go on from."""
        save_file(self.state_dict(), file)

    def load(self, file: Path) -> bool:
        """Go on from an earlier phase's matrices, if they are there and fit; say whether."""
        try:
            state = load_file(file) if file.is_file() else {}
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{file}: cannot be read, got {in_one_line(error)}; run "
                "`dvc repro --force general_distill`"
            ) from error
        ours = self.state_dict()
        fits = {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in ours.items()}
        if fits and state:
            self.load_state_dict(state)
        return fits and bool(state)
