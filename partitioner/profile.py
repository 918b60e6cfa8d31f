"""What was measured: seconds per operator and segment on each engine, and what codecs do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

SegmentKey = str


def segment_key(operators: tuple[str, ...]) -> SegmentKey:
    """Names a segment by its operators, in graph order."""
    return sha256("\n".join(operators).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class EngineKey:
    """An engine on a class of node: `threads` and precision change its times, so they are part of it."""

    node_class: str
    backend: str
    precision: str = "float32"
    threads: int = 1
    batch: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProfile:
    """Seconds on one engine, unslowed. Additive per operator for searching; segments for predicting.

    `options` are the engine's settings under which all of it was measured, where tuning found better than the default.
    """

    operator_s: Mapping[str, float]
    call_s: float = 0.0  # per stage run, whatever it holds
    segment_s: Mapping[SegmentKey, float] = field(default_factory=dict)
    segments: Mapping[SegmentKey, tuple[str, ...]] = field(default_factory=dict)  # operators of those timed, if known
    first_s: Mapping[str, float] = field(default_factory=dict)  # operators', before segments corrected them; or empty
    options: tuple[tuple[str, str | int | float | bool], ...] = ()
    batch_s: Mapping[int, float] = field(default_factory=dict)  # the whole model's, by the rows it takes at once


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecFigure:
    """A codec's speed, in seconds per raw byte, unslowed."""

    encode_s_per_byte: float
    decode_s_per_byte: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFigure:
    """What one codec does to one activation: coded bytes per raw byte and the output error it alone causes.

    `error` is the largest absolute difference of any output over that output's largest magnitude. Speeds in seconds
    per raw byte, unslowed, as they depend on what is coded; None: take the codec's own. `label_agreement` is the
    share of calibration inputs whose top label stayed, None where the model gives no class scores: an error within
    bounds may still turn a close decision.
    """

    ratio: float
    error: float
    encode_s_per_byte: float | None = None
    decode_s_per_byte: float | None = None
    label_agreement: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Everything measured about one model. `tensors[activation][codec]`; "raw" needs no entry."""

    model: str  # SHA-256 of the normalised model
    engines: Mapping[EngineKey, EngineProfile]
    codecs: Mapping[str, CodecFigure] = field(default_factory=dict)
    tensors: Mapping[str, Mapping[str, TensorFigure]] = field(default_factory=dict)
    message_s: float = 0.0  # software cost of a message, each way, whatever its size
    message_s_per_byte: float = 0.0
