"""What engines are fed: half of the data to calibrate forms in fewer bits, the other half to compare engines by.

A form that was calibrated on what it is judged by would look better than it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nodes.backend import Array, TensorSpec
from nodes.errors import BadInput
from nodes.feeds import check_feeds, describe
from nodes.timing import sample_feeds
from nodes.variants import calibration
from orchestrator.samples import load_inputs
from orchestrator.selecting.labels import load_labels

SEEDED = 8  # samples of each half where no data is given
MOST = 64  # samples in all
MOST_LABELLED = 256  # of which the odd ones are judged: top-1 of fewer would tell little

Feeds = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """`judged` are what every cell answers; `told` says in a few words what they are.

    `labels`: the right class of each row of the judged, in order.
    """

    judged: tuple[Feeds, ...]
    calibration: tuple[Feeds, ...]
    told: str
    labels: tuple[int, ...] | None = None


def samples_of(data: Path | None, inputs: Sequence[TensorSpec], labels: Path | None = None) -> Samples:
    """From the file or folder, by turns for the one use and the other; drawn by seed if there is none.

    BadInput for what does not fit, labels among it.
    """
    if data is None:
        if wanting := [spec for spec in inputs if None in spec.shape]:
            raise BadInput(f"input {describe(wanting[0])} needs a real sample; give one by --data")
        drawn = [sample_feeds(inputs, seed) for seed in range(2 * SEEDED)]
        told = f"{SEEDED} seeded at random"
        return Samples(judged=tuple(drawn[:SEEDED]), calibration=tuple(drawn[SEEDED:]), told=told)
    most = MOST if labels is None else MOST_LABELLED
    found = load_samples(data, inputs)
    classes = None if labels is None else load_labels(labels, len(found))[:most]
    found = found[:most]
    if len(found) == 1:
        told = f"1 of {data}, which forms were calibrated by too"
    else:
        told = f"{(len(found) + 1) // 2} of {data}, others for calibration"
    return Samples(
        judged=found[::2],
        calibration=(found[1::2] or found)[: MOST // 2],
        told=told,
        labels=None if classes is None else tuple(int(one) for one in classes[: len(found)][::2].ravel()),
    )


def load_samples(data: Path, inputs: Sequence[TensorSpec]) -> tuple[Feeds, ...]:
    """The samples of a file or a folder, pictures and arrays; an array may hold several, one after the other."""
    if not data.exists():
        raise BadInput(f"no file {data}; give a .npz, .npy or image file, or a folder of them")
    files = sorted(entry for entry in data.iterdir() if entry.is_file()) if data.is_dir() else [data]
    if not files:
        raise BadInput(f"{data} is an empty folder; put .npz, .npy or image files in it")
    found: list[Feeds] = []
    for file in files:
        if file.suffix.lower() in calibration.SUFFIXES:
            found += calibration.read(file, inputs)
        else:
            found.append(_picture(file, inputs))
    return tuple(found)


def _picture(file: Path, inputs: Sequence[TensorSpec]) -> Feeds:
    feeds = load_inputs(file, inputs)
    try:
        check_feeds(inputs, feeds)
    except BadInput as fault:
        raise BadInput(f"{file}: {fault}") from None
    return feeds
