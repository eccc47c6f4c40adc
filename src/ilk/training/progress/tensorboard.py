"""TensorBoard: scalars, histograms and pictures of a training, as event files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ilk.errors import UsageError
from ilk.models.network import Network
from ilk.text import escaped
from ilk.training.history import Row
from ilk.training.optim.layers import eval_mode

# A histogram of so many values looks like one of millions. A prime, so that the stride does not
# coincide with rows or channels.
MOST_VALUES = 99_991
# TensorBoard's bins end at 1e20; a histogram with all values above cannot be drawn.
LARGEST = 1e19
MOST_PICTURES = 16
COLUMNS = 4
SMALLEST, LARGEST_SIDE = 128, 224  # pixels a picture is shown at
FONT, CAPTION = 14, 40  # pixels; two lines
NAMED_SHARE = 0.1  # smallest share of a mixed target that a caption names

Array = Tensor | NDArray[Any]


class TensorBoard:
    """Writes what ``tensorboard --logdir FOLDER`` shows; it does not affect the training.

    Parameters
    ----------
    folder : Path
        Created if needed.
    first_step : int
        The steps done before: events of later steps, written before the training was resumed, are
        hidden. Those of this very step stay, as an epoch's row has the steps done at its end.

    Raises
    ------
    UsageError
        The package ``tensorboard`` is not installed.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                "--tensorboard needs the package tensorboard: pip install 'ilk[tensorboard]'"
            ) from None
        self._writer = SummaryWriter(str(folder), purge_step=first_step and first_step + 1)

    def scalars(self, row: Row) -> None:
        """Write the row of an epoch, at its step, and flush the file."""
        tags = {
            "loss/train": row.loss,
            "loss/val": row.val_loss,
            "accuracy/train": row.accuracy,
            "accuracy/val": row.val_accuracy,
            "macro_f1/val": row.val_macro_f1,
            "lr": row.lr,
            "epoch": row.epoch,
            "pictures_per_second": row.pictures_per_second,
        }
        for tag, value in tags.items():
            if value is not None:
                self._writer.add_scalar(tag, value, row.step)
        self._writer.flush()

    def gradient_norms(self, step: int, network: Network) -> None:
        """Write the norm of the gradients of each part of the network and in total.

        Parts are the backbone's children and the head; those without gradients are left out.
        """
        owned = {name: list(child.parameters()) for name, child in _children(network).items()}
        norms = {name: _gradient_norm(own) for name, own in (owned | _tokens(network)).items()}
        found = {name: norm for name, norm in norms.items() if norm is not None}
        if found:
            values = torch.stack([*found.values()])
            everything = torch.cat([values, values.norm()[None]]).tolist()
            for name, value in zip([*found, "total"], everything, strict=True):
                self._writer.add_scalar(f"gradient_norm/{name}", value, step)

    def histograms(self, step: int, network: Network, pixels: Tensor) -> None:
        """Write histograms of weights, gradients and activations, by layer.

        Layers are the backbone's children, the blocks of those that are a sequence, and the head.
        Values that are not finite are left out, and their share is written as ``not_finite/…``.

        Parameters
        ----------
        network : Network
            Not compiled; with its current gradients. It is not changed.
        pixels : uint8 or float Tensor [N, H, W, 3]
            Some pictures, on the network's device, to compute activations of, in eval mode.
        """
        layers = _layers(network)
        owned = {name: list(layer.parameters()) for name, layer in layers.items()}
        for name, parameters in (owned | _tokens(network)).items():
            gradients = [p.grad for p in parameters if p.grad is not None]
            self._histogram(f"weights/{name}", map(_sample, parameters), step)
            self._histogram(f"gradients/{name}", map(_sample, gradients), step)
        for name, values in _activations(network, layers, pixels).items():
            self._histogram(f"activations/{name}", [values], step)

    def pictures(self, step: int, pixels: Array, labels: Array, classes: Sequence[str]) -> None:
        """Show training pictures as the network sees them, with their labels.

        Parameters
        ----------
        pixels : uint8 or float Tensor or array [N, H, W, 3]
            From 0 to 255; the first 16 are shown.
        labels : int Tensor or array [N], or float [N, K]
            Classes, or their shares in mixed pictures.
        """
        captions = [_caption(label, classes) for label in torch.as_tensor(labels)[:MOST_PICTURES]]
        self._show("pictures/train", step, pixels[:MOST_PICTURES], captions)

    def wrong(
        self, step: int, pixels: Array, labels: Array, predicted: Array, classes: Sequence[str]
    ) -> None:
        """Show the first 16 misclassified validation pictures, if there are any.

        Parameters
        ----------
        pixels : uint8 or float Tensor or array [N, H, W, 3]
            From 0 to 255.
        labels, predicted : int Tensors or arrays [N]
        """
        true, named = torch.as_tensor(labels).cpu(), torch.as_tensor(predicted).cpu()
        rows = torch.nonzero(true != named).flatten()[:MOST_PICTURES].tolist()
        captions = [
            f"true: {escaped(classes[int(true[i])])}\npred: {escaped(classes[int(named[i])])}"
            for i in rows
        ]
        self._show("pictures/wrong", step, pixels[rows], captions)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()

    def _histogram(self, tag: str, samples: Iterable[Tensor], step: int) -> None:
        values = torch.cat([torch.empty(0), *samples])
        finite = values[values.isfinite()].clamp(-LARGEST, LARGEST)
        if len(finite):
            self._writer.add_histogram(tag, finite, step)
        if len(finite) < len(values):
            self._writer.add_scalar(f"not_finite/{tag}", 1 - len(finite) / len(values), step)

    def _show(self, tag: str, step: int, pixels: Array, captions: Sequence[str]) -> None:
        if captions:
            values = torch.as_tensor(pixels).detach().float().nan_to_num(0).clamp(0, 255)
            image = _grid(values.byte().cpu().numpy(), captions)
            self._writer.add_image(tag, image, step, dataformats="HWC")


def _children(network: Network) -> dict[str, nn.Module]:
    """Return the backbone's children and the head, by name; a backbone may have a ``head`` too."""
    children = {
        "backbone.head" if name == "head" else name: child
        for name, child in network.backbone.named_children()
        if not isinstance(child, nn.Identity)
    }
    return children | ({"head": network.head} if network.head is not None else {})


def _tokens(network: Network) -> dict[str, list[nn.Parameter]]:
    """Return the parameters that belong to none of the backbone's children."""
    own = list(network.backbone.parameters(recurse=False))
    return {"tokens": own} if own else {}


def _gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor | None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return get_total_norm(gradients).float() if gradients else None


def _layers(network: Network) -> dict[str, nn.Module]:
    """Return the modules that histograms are of, by name."""
    layers: dict[str, nn.Module] = {}
    for name, child in _children(network).items():
        is_sequence = isinstance(child, nn.Sequential | nn.ModuleList) and len(child) > 1
        blocks = child.named_children() if is_sequence else ()
        layers |= {f"{name}.{key}": block for key, block in blocks} or {name: child}
    return layers


def _activations(
    network: Network, layers: Mapping[str, nn.Module], pixels: Tensor
) -> dict[str, Tensor]:
    """Run the network in eval mode, and return a sample of what each layer gives."""
    samples: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                samples[name] = _sample(output)

        return hook

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        with eval_mode(network), torch.no_grad():
            network(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    return samples


def _sample(values: Tensor) -> Tensor:
    """Return values, evenly spread if they are too many: ``float32 [M]``, on the CPU."""
    flat = values.detach().flatten()
    if len(flat) > MOST_VALUES:
        flat = flat[torch.arange(MOST_VALUES, device=flat.device) * len(flat) // MOST_VALUES]
    # Copied, because the next layer may operate in place.
    return flat.to("cpu", torch.float32, copy=True)


def _caption(label: Tensor, classes: Sequence[str]) -> str:
    if label.ndim == 0:
        return escaped(classes[int(label)])
    shares, order = label.float().topk(min(2, len(label)))
    lines = [
        f"{escaped(classes[k])} {100 * share:.0f} %"
        for share, k in zip(shares.tolist(), order.tolist(), strict=True)
        if share >= NAMED_SHARE
    ]
    return ",\n".join(lines)


def _grid(pixels: NDArray[np.uint8], captions: Sequence[str]) -> NDArray[np.uint8]:
    """Draw pictures ``uint8 [N, H, W, 3]`` in rows, a caption of two lines beneath each."""
    height, width = pixels.shape[1:3]
    scale = ceil(SMALLEST / width) if width < SMALLEST else min(1.0, LARGEST_SIDE / width)
    width, height = round(scale * width), round(scale * height)
    columns, rows = min(COLUMNS, len(pixels)), ceil(len(pixels) / COLUMNS)
    gap = 8
    size = columns * (width + gap) + gap, rows * (height + CAPTION + gap) + gap
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT)
    resample = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    for i, caption in enumerate(captions):
        x = gap + i % COLUMNS * (width + gap)
        y = gap + i // COLUMNS * (height + CAPTION + gap)
        sheet.paste(Image.fromarray(pixels[i]).resize((width, height), resample), (x, y))
        lines = [_fitting(line, width, font) for line in caption.split("\n")]
        draw.text((x, y + height + 2), "\n".join(lines), "#1b1f24", font)
    return np.asarray(sheet)


def _fitting(line: str, width: int, font: Any) -> str:
    """Cut a line that is wider than its picture."""
    fits = next(n for n in range(len(line), -1, -1) if font.getlength(line[:n] + "…") <= width)
    return line if font.getlength(line) <= width else line[:fits] + "…"
