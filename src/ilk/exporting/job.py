"""Job: what is to be exported. Writers turn it into what `save` can write with any metadata."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ilk.arrays import Pixels
from ilk.models.bundle import Bundle

if TYPE_CHECKING:
    from torch import Tensor

    from ilk.models.exportable import Exportable

FEWEST = 8  # pictures that a network can be calibrated by


@dataclass(frozen=True, eq=False)
class Job:
    """A model on its way out.

    Attributes
    ----------
    bundle : Bundle
    pixels : uint8 array [M, S, S, 3]
        Training pictures, to calibrate int8 by; there may be none.
    max_drop : float or None
        The share of their answers that int8 may change before it is worth minutes to find the
        layers to blame; None: never.
    """

    bundle: Bundle
    pixels: Pixels
    max_drop: float | None = None

    @cached_property
    def network(self) -> Exportable:
        """From pixels to probabilities, logits and features, in float32."""
        from ilk.models.exportable import exportable

        return exportable(self.bundle)

    @property
    def example(self) -> Tensor:
        """Two black pictures ``uint8 [2, S, S, 3]``: of one, a batch of one would be a constant."""
        import torch

        side = self.bundle.spec.preprocess.imgsz
        return torch.zeros((2, side, side, 3), dtype=torch.uint8)

    @cached_property
    def script(self) -> Any:
        """The network as a frozen trace."""
        from ilk.exporting import torchscript

        return torchscript.traced(self.network, self.example)

    @cached_property
    def graph(self) -> Any:
        """The network as an ONNX ``ModelProto``."""
        from ilk.exporting import onnx

        return onnx.translated(self.program)

    @cached_property
    def program(self) -> Any:
        """The network as ``torch.export`` sees it, for any number of pictures.

        Raises
        ------
        ExportError
            It cannot be exported.
        """
        from ilk.exporting.programs import exported

        return exported(self.network, self.example)

    def batches(self, size: int) -> list[Pixels]:
        """Return the pixels to calibrate by, a few at a time."""
        return [
            np.ascontiguousarray(self.pixels[i : i + size])
            for i in range(0, len(self.pixels), size)
        ]
