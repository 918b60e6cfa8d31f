"""What int8 gains and costs: EfficientNet-Lite0 (static scales) and MiniLM (dynamic ones) against float32, 1 thread.

Calibrated on some photographs and sentences, judged on others. Both forms are timed in turn, a round's ratio is
float32's seconds over int8's. "certain" are crops whose top label float32 gives a probability of a half or more.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from kit.crops import TO_CALIBRATE, TO_JUDGE, crops
from kit.figures import Figure, figure, report
from kit.sentences import TO_CALIBRATE as SENTENCES
from kit.sentences import TO_JUDGE as OTHER_SENTENCES

from isthmus import zoo
from isthmus.zoo.minilm import tokens
from nodes.backend import Array, Session, load_backend
from nodes.variants.forms import Variant
from nodes.variants.registry import variant

Feeds = Sequence[Mapping[str, Array]]
BACKEND = "onnxruntime"
CNN_SPEED, TEXT_SPEED, AGREEMENT, COSINE = 1.8, 1.5, 0.99, 0.99
RUNS = 5  # of each form, a round
OTHER_FORMS = ("float16", "bfloat16", "weights8", "weights4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How much is done: crops a photograph to calibrate by and to judge, rounds of timing."""

    calibrate: int
    judge: int
    rounds: int


FULL, QUICK = Work(calibrate=8, judge=100, rounds=40), Work(calibrate=3, judge=10, rounds=8)


def speed(model: Path, made: Path, feeds: Mapping[str, Array], rounds: int) -> tuple[list[float], list[float]]:
    """Each round's ratio, and int8's milliseconds."""
    sessions = [load_backend(BACKEND).compile(path, threads=1) for path in (model, made)]
    for session in sessions:
        seconds(session, feeds)
    ratios, int8_ms = [], []
    for _ in range(rounds):
        exact_s, made_s = (seconds(session, feeds) for session in sessions)
        ratios.append(exact_s / made_s)
        int8_ms.append(made_s * 1e3)
    for session in sessions:
        session.close()
    return ratios, int8_ms


def seconds(session: Session, feeds: Mapping[str, Array]) -> float:
    """The fastest of RUNS: what disturbs a run only adds to it."""
    taken = []
    for _ in range(RUNS):
        begun_s = perf_counter()
        session.run(feeds)
        taken.append(perf_counter() - begun_s)
    return min(taken)


def timed(name: str, model: Path, made: Variant, feeds: Mapping[str, Array], rounds: int) -> Iterator[Figure]:
    ratios, int8_ms = speed(model, made.path, feeds, rounds)
    target = CNN_SPEED if name.startswith("efficientnet") else TEXT_SPEED
    yield figure(f"{name}: speed over float32", median(ratios), "×", target, "higher", (min(ratios), max(ratios)))
    yield figure(f"{name}: int8", median(int8_ms), "ms", spread=(min(int8_ms), max(int8_ms)))
    yield figure(f"{name}: size over float32", made.nbytes / model.stat().st_size, "×")


def classifier(work: Work) -> Iterator[Figure]:
    name, model = "efficientnet_lite0", zoo.build("efficientnet_lite0")
    calibration, held_out = crops(TO_CALIBRATE, work.calibrate, 0), crops(TO_JUDGE, work.judge, 1)
    with variant(model, "int8", feeds=calibration, judged_on=held_out) as made:
        yield from timed(name, model, made, held_out[0], work.rounds)
        assert made.figures is not None
        errors = made.figures.errors
        if errors.certain is not None:
            label = f"{name}: labels kept, of {errors.certain_rows} certain crops"
            yield figure(label, errors.certain, "", AGREEMENT, "higher")
        yield figure(f"{name}: labels kept, of all {errors.rows} crops", errors.agreement or 0.0, "", better="higher")
        yield figure(f"{name}: SQNR", errors.sqnr_db or 0.0, "dB", better="higher")
    yield from others(name, model, calibration, held_out[:: work.judge // 5])


def encoder(work: Work) -> Iterator[Figure]:
    name, model = "minilm", zoo.build("minilm")
    calibration, held_out = ([tokens(text) for text in texts] for texts in (SENTENCES, OTHER_SENTENCES))
    with variant(model, "int8", feeds=calibration, judged_on=held_out) as made:
        yield from timed(name, model, made, held_out[0], work.rounds)
        assert made.figures is not None
        errors = made.figures.errors
        spread = (errors.least_cosine, errors.cosine)
        yield figure(f"{name}: mean cosine", errors.cosine, "", COSINE, "higher")
        yield figure(
            f"{name}: least cosine of {len(held_out)}", errors.least_cosine, "", better="higher", spread=spread
        )
        yield figure(f"{name}: SQNR", errors.sqnr_db or 0.0, "dB", better="higher")
    yield from others(name, model, calibration, held_out)


def others(name: str, model: Path, calibration: Feeds, held_out: Feeds) -> Iterator[Figure]:
    """Size and error of the forms that save bytes."""
    for form in OTHER_FORMS:
        with variant(model, form, feeds=calibration[:4], judged_on=held_out) as made:
            assert made.figures is not None
            yield figure(f"{name}, {form}: size over float32", made.nbytes / model.stat().st_size, "×")
            yield figure(f"{name}, {form}: mean cosine", made.figures.errors.cosine, "", better="higher")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    work = QUICK if options.quick else FULL
    report("int8", [*classifier(work), *encoder(work)], options.json)


if __name__ == "__main__":
    main()
