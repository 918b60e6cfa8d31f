"""Options that several verbs share, as Typer reads them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.signing import VARIABLE

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Topology = Annotated[Path | None, typer.Option("--topology", "-T", help="topology.yaml")]
Shapes = Annotated[
    list[str] | None, typer.Option("--shape", help="NAME=1,3,224,224 for an input whose shape the model leaves open")
]
Samples = Annotated[
    list[str] | None, typer.Option("--samples", help="NAME=FILE or folder: examples of an input, for calibration")
]
Private = Annotated[
    list[str] | None, typer.Option("--private", help="stays on its node but for features; INPUT@edge: on that tier")
]
MaxError = Annotated[float, typer.Option(help="how much codecs may change outputs, of the largest; 0: not at all")]
Source = Annotated[str | None, typer.Option(help="node where inputs appear; default: the first of the lowest tier")]


def _trust(folder: Path | None) -> Path | None:
    """Where all that opens a model looks, whoever asks it to."""
    if folder is not None:
        os.environ[VARIABLE] = str(folder)
    return folder


Trust = Annotated[
    Path | None,
    typer.Option(
        "--trust", callback=_trust, help="public key, or folder of such: models that none of them signed are refused"
    ),
]
