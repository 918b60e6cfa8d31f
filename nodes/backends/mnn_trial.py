"""What runs in a process of its own: MNN's converter, and the first answers of the file that it made.

    python -m nodes.backends.mnn_trial operators
    python -m nodes.backends.mnn_trial convert FOLDER -- what the converter is told

FOLDER holds source.onnx, conversion.json (inputs and outputs) and samples-0.npz, samples-1.npz …; model.mnn and
answers-0.npz … are added to it. Whether that worked is told by what is printed and by the files: the converter itself
exits with 0 either way.
"""

import ctypes
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from nodes.backends.mnn_source import Port
from nodes.errors import NodesError

CONVERTED = "isthmus: converted"


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0, 3 without a file, 4 if the file cannot be run."""
    # The module below the package's own script, which would first install a package and report to the vendor.
    convert = import_module("_tools").mnnconvert
    if arguments[0] == "operators":
        convert(["mnnconvert", "-f", "ONNX", "--OP"])
        return 0
    folder = Path(arguments[1])
    model = folder / "model.mnn"
    files = ["--modelFile", str(folder / "source.onnx"), "--MNNModel", str(model)]
    convert(["mnnconvert", "-f", "ONNX", "--bizCode", "isthmus", *files, *arguments[2:]])
    if not model.exists():
        return 3
    ctypes.CDLL(None).fflush(None)  # what the converter printed stands before this line
    print(CONVERTED, flush=True)  # noqa: T201 - the parent reads it
    try:
        answer(folder)
    except NodesError as error:
        print(error)  # noqa: T201
        return 4
    return 0


def answer(folder: Path) -> None:
    """Run the samples and keep what they give, in the order of the outputs."""
    from nodes.backends.mnn import MnnSession

    facts = json.loads((folder / "conversion.json").read_text())
    inputs, outputs = (ports_of(facts[name]) for name in ("inputs", "outputs"))
    session = MnnSession(folder / "model.mnn", inputs, outputs)
    for samples in sorted(folder.glob("samples-*.npz")):
        with np.load(samples) as arrays:
            feeds = {port.name: arrays[f"arr_{number}"] for number, port in enumerate(inputs)}
        made = session.run(feeds)
        np.savez(folder / samples.name.replace("samples", "answers"), *(made[port.name] for port in outputs))


def ports_of(listed: Sequence[dict[str, object]]) -> tuple[Port, ...]:
    """Inputs or outputs as conversion.json has them."""
    return tuple(Port(**{**port, "shape": tuple(port["shape"])}) for port in listed)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
