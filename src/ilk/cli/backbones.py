"""``ilk backbones``."""

from __future__ import annotations

from ilk.cli.console import Count, print_json, print_table
from ilk.errors import UsageError

CLASSES = 2  # of the new head
HINT = "Any other timm model works too: ilk backbones 'convnext*'"


def backbones(
    pattern: str | None = None,
    /,
    *,
    model: str | None = None,
    classes: Count | None = None,
    json: bool = False,
) -> None:
    """List backbones, or show the parts of one.

    Parameters
    ----------
    pattern
        Search timm's models, for example 'convnext*'.
    model
        Show the parameters of this backbone's parts, frozen and trainable.
    classes
        With --model: the number of classes of the new head; default: 2.
    json
        Print JSON instead of a table.
    """
    if model and pattern:
        raise UsageError("Give a pattern or --model, not both.")
    if classes is not None and not model:
        raise UsageError("--classes does not apply without --model.")
    if model:
        _show_parts(model, classes or CLASSES, json)
    elif pattern:
        _search(pattern, json)
    else:
        _list_known(json)


def _list_known(json: bool) -> None:
    from ilk.models.backbones import DEFAULT, KNOWN
    from ilk.models.weights import where

    if json:
        print_json(
            [
                {
                    "name": b.name,
                    "parameters": b.parameters,
                    "imgsz": b.imgsz,
                    "features": b.features,
                    "weights": where(b.name),
                }
                for b in KNOWN.values()
            ]
        )
        return
    print_table(
        ("name", "parameters", "input", "features", "weights"),
        [
            (
                b.name + (" (default)" if b.name == DEFAULT else ""),
                f"{b.parameters / 1e6:.1f} M",
                f"{b.imgsz} px",
                f"{b.features:,}",
                where(b.name),
            )
            for b in KNOWN.values()
        ],
    )
    print(f"\n{HINT}")


def _search(pattern: str, json: bool) -> None:
    from ilk.models.backbones import import_timm

    timm = import_timm()
    names = timm.list_models(pattern if "*" in pattern else f"*{pattern}*", pretrained=True)
    if not names:
        raise UsageError(f"timm has no pretrained model like '{pattern}'.")
    if json:
        print_json(names)
        return
    rows = []
    for name in names:
        config = timm.models.get_pretrained_cfg(name)
        rows.append((name, f"{config.input_size[-1]} px", config.tag))
    print_table(("name", "input", "weights' tag"), rows)


def _show_parts(model: str, classes: int, json: bool) -> None:
    from ilk.models.backbones import parts

    rows = parts(model, classes)
    if json:
        print_json([part.__dict__ for part in rows])
        return
    total, trainable = sum(p.parameters for p in rows), sum(p.trainable for p in rows)
    print_table(
        ("part", "kind", "parameters", "frozen", "trainable"),
        [
            (
                p.name,
                p.kind,
                f"{p.parameters:,}",
                f"{p.parameters - p.trainable:,}",
                f"{p.trainable:,}",
            )
            for p in rows
        ]
        + [("total", "", f"{total:,}", f"{total - trainable:,}", f"{trainable:,}")],
    )
