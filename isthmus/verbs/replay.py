"""`isthmus replay`: a journal's events, each with what was decided and why, and where today it would be otherwise."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.markup import escape

from isthmus.terminal import show, show_json
from nodes.code_version import code_version
from orchestrator.errors import JournalError
from orchestrator.plain import to_plain
from orchestrator.recording import Recording, read_recording
from orchestrator.replay import Step, replay
from partitioner.plan import Plan, told

LIMIT = 400  # characters of a line beyond which reading it helps nobody
DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


def replay_journal(path: Path, *, from_seq: int, deployment: str | None, as_json: bool) -> int:
    """Print every record from number `from_seq` on, of one deployment if given, and every divergence, wherever it is.

    Returns the exit status: 1 if this very version once decided otherwise. JournalError for what is no whole journal
    or, after as much as can be told, for a record that this version can't follow.
    """
    recording = read_recording(path)
    steps, fault = _as_far_as_possible(recording)
    shown = [step for step in steps if step.diverges or (step.record.seq >= from_seq and _is_of(step, deployment))]
    if as_json:
        show_json(_head_json(recording, steps) | {"records": [_step_json(step) for step in shown]})
    else:
        for line in (*_head(recording), *_lines(shown, recording), *_summary(steps)):
            show(escape(line))
    if fault is not None:
        raise fault
    return 1 if any(step.is_failure for step in steps) else 0


def _as_far_as_possible(recording: Recording) -> tuple[list[Step], JournalError | None]:
    """Every step up to a record that can't be followed, and that record's error."""
    steps: list[Step] = []
    try:
        steps.extend(replay(recording))
    except JournalError as error:
        return steps, error
    return steps, None


def _is_of(step: Step, deployment: str | None) -> bool:
    values = (step.record.event, *step.record.instructions)
    return deployment is None or any(getattr(value, "deployment", None) == deployment for value in values)


def _head(recording: Recording) -> Iterator[str]:
    writers = ", ".join(dict.fromkeys(record.code_version for record in recording.records)) or "nobody"
    yield f"{recording.path}: {len(recording.records)} records, written by {writers}; decided again by {code_version()}"
    if recording.snapshot is not None:
        yield f"they go on from a snapshot after record {recording.snapshot.seq}; what came before is not kept"
    if recording.records:
        begin = datetime.fromtimestamp(recording.records[0].now_s, UTC)
        yield f"the first is of {begin:%Y-%m-%d %H:%M:%S} UTC"


def _lines(steps: Iterable[Step], recording: Recording) -> Iterator[str]:
    for step in steps:
        record = step.record
        yield f"{record.seq:>6}  {record.now_s - recording.records[0].now_s:+.3f} s  {_told(record.event)}"
        if not step.diverges:
            yield from (f"          {_told(given)}" for given in record.instructions)
            continue
        yield from (f"        ≠ recorded: {_told(given)}" for given in record.instructions or (None,))
        now = (step.error,) if step.error is not None else step.decided or (None,)
        yield from (f"        ≠ now:      {_told(given)}" for given in now)


def _summary(steps: list[Step]) -> Iterator[str]:
    diverging = [step for step in steps if step.diverges]
    failing = sum(step.is_failure for step in diverging)
    yield f"{len(steps)} records decided again, {len(diverging)} of them otherwise"
    if len(diverging) > failing:
        yield f"{len(diverging) - failing} were written by another version, which may decide otherwise"
    if failing:
        yield f"{failing} were written by this very version: its decisions depend on more than its events"


def _told(value: object) -> str:
    """An event or instruction in a line: what it is, its fields that say something, and its reason last."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return f"refuses the event: {value}"
    parts, reason = [type(value).__name__], ""
    for field in fields(value):  # type: ignore[arg-type]
        content = getattr(value, field.name)
        is_default = field.default is not MISSING and content == field.default
        if field.name in ("reason", "error"):
            reason = str(content)
        elif content not in ((), "") and not is_default:
            is_rate = field.name == "bytes_per_s"
            parts.append(f"goodput={content * 8e-6:.3g}Mbps" if is_rate else f"{field.name}={_content(content)}")
    text = " ".join(parts)[:LIMIT]
    return f"{text}: {' '.join(reason.split())}" if reason else text


def _content(value: object) -> str:
    match value:
        case float():
            return f"{value:.6g}"
        case tuple() | list():
            return ",".join(map(_content, value))
        case Mapping():
            return ",".join(f"{key}:{_content(each)}" for key, each in value.items())
        case _ if is_dataclass(value):
            return _value(value)
        case _:
            return DIGEST.sub(r"\1…", str(value))


def _value(value: Any) -> str:
    """A value within an event: plans and links shortly, of any other only what it is."""
    if isinstance(value, Plan):
        stages = " | ".join(f"{stage.node} {stage.backend} {len(stage.operators)}" for stage in value.stages)
        return f"[{stages}, {told(value.predicted.latency_s, 'latency')}]"
    if hasattr(value, "bytes_per_s"):
        return f"{value.source}→{value.target}@{value.bytes_per_s * 8e-6:.3g}Mbps"
    return type(value).__name__


def _head_json(recording: Recording, steps: list[Step]) -> dict[str, Any]:
    snapshot = recording.snapshot
    return {
        "journal": str(recording.path),
        "code_version": code_version(),
        "snapshot": None
        if snapshot is None
        else {"seq": snapshot.seq, "now_s": snapshot.now_s, "code_version": snapshot.code_version},
        "decided_again": len(steps),
        "divergences": sum(step.diverges for step in steps),
        "failures": sum(step.is_failure for step in steps),
    }


def _step_json(step: Step) -> dict[str, Any]:
    record = step.record
    return {
        "seq": record.seq,
        "now_s": record.now_s,
        "code_version": record.code_version,
        "event": to_plain(record.event),
        "recorded": [to_plain(each) for each in record.instructions],
        "decided": [to_plain(each) for each in step.decided],
        "error": step.error,
        "diverges": step.diverges,
    }
