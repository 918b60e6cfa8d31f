"""The kernels of a lowered module, and how each is scheduled: as measured, else by hand, else as TVM writes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nodes.backends.tvm.records import Records, kernel_key
from nodes.backends.tvm.schedules import by_hand
from nodes.backends.tvm.vendor import one_line


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of a module: its name there, its key in the records, its calls per run, its loops as a module."""

    name: str
    key: str
    calls: int
    module: Any


def kernels_of(module: Any, target: Any) -> tuple[Kernel, ...]:
    """Every kernel that can be scheduled, in the order of their names."""
    from tvm.s_tir.meta_schedule.relax_integration import extract_tasks
    from tvm.s_tir.meta_schedule.tune_context import _normalize_mod

    found = []
    for task in extract_tasks(module, target):
        plain = _normalize_mod(task.dispatched[0])
        found.append(Kernel(task.task_name, kernel_key(plain["main"]), int(task.weight), plain))
    return tuple(sorted(found, key=lambda kernel: kernel.name))


def scheduled(module: Any, records: Records, target: Any) -> Any:
    """The module with every kernel scheduled, the best way that is known now."""
    from tvm import tirx
    from tvm.s_tir.meta_schedule.tune_context import _normalize_mod

    module = module.clone()
    for name, function in module.functions_items():
        if not isinstance(function, tirx.PrimFunc):
            continue
        plain = _normalize_mod(function.without_attr("global_symbol"))
        schedule = replayed(plain, records) or next(by_hand(plain, target, most=1), None)
        if schedule is not None:
            made = schedule.mod["main"].without_attr("global_symbol")
            module.update_func(name, made.with_attr("tirx.is_scheduled", True))
    return module


def replayed(plain: Any, records: Records) -> Any:
    """The fastest schedule on record, applied; None where there is none, or where it no longer applies."""
    from tvm.s_tir import Schedule, Trace

    key = kernel_key(plain["main"])
    record = records.best(key)
    if record is None:
        return None
    schedule = Schedule(plain)
    try:
        Trace.apply_json_to_schedule(record.trace, schedule)
    except Exception as error:
        records.drop(key, one_line(error))
        return None
    return schedule


def digests(keys: Sequence[str], records: Records) -> list[str]:
    """Of each kernel's schedule on record, "" where there is none: what an artifact depends on."""
    return [record.digest if (record := records.best(key)) else "" for key in keys]
