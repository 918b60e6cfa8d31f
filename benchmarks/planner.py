"""How long the proof takes that a pipeline is the fastest: published device-placement instances, or made ones.

    python benchmarks/planner.py DIR --json     one JSON list: an object for every instance file in DIR
    python benchmarks/planner.py [--quick]      instances of the same kinds and sizes, made here

Seconds are of reading and solving; what numba compiles, once a machine, is compiled before.
"""

import argparse
import json
import sys
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter
from typing import Any

from kit.figures import Figure, figure, report

from partitioner.errors import PartitionerError
from partitioner.instances import read_instance
from partitioner.pipelines import PipelineInstance, Pool
from partitioner.search.pipeline import NoPipeline, PipelineAnswer, fastest_pipeline

TARGET_S = 15.0


def solved(text: str, name: str) -> dict[str, Any]:
    """One instance's entry of the list; `error` in place of a plan if there is none."""
    began_s = perf_counter()
    try:
        instance = read_instance(text, name)
        answer = fastest_pipeline(instance)
    except PartitionerError as error:
        return {"instance": name, "error": str(error)}
    seconds = perf_counter() - began_s
    if isinstance(answer, NoPipeline):
        return {"instance": name, "error": f"{answer.constraint}: {answer.detail}", "seconds": seconds}
    return {
        "instance": name,
        "max_load": answer.largest_load_s,
        "lower_bound": answer.lower_bound_s,
        "optimal": answer.is_optimal,
        "seconds": seconds,
        "assignment": assignment(instance, answer),
    }


def assignment(instance: PipelineInstance, answer: PipelineAnswer) -> dict[str, str]:
    """Operator id → device, such as acc0."""
    where = {
        operator: f"{instance.pools[piece.pool].name}{piece.replicas[0]}"
        for piece in answer.pieces
        for operator in piece.operators
    }
    return {name: where[number] for number, name in enumerate(instance.operators)}


def chain(operators: int, random: Random) -> PipelineInstance:
    """Like a transformer by operators: a long chain, many of whose operators read a weight of their own."""
    reads = []
    for number in range(2, operators, 2):
        reads += [(number - 2, number), (number - 1, number)]
        if number % 16 == 0:
            reads.append((number - 16, number))
    free = {number for number in range(1, operators, 2)}
    return made(f"chain of {operators}", operators, reads, random, free=free)


def branches(operators: int, width: int, depth: int, random: Random) -> PipelineInstance:
    """Like Inception by layers: blocks of parallel branches, one after the other."""
    reads, joint, number = [], 0, 1
    while number + width * depth < operators:
        ends = []
        for _ in range(width):
            before = joint
            for _ in range(depth):
                reads.append((before, number))
                before, number = number, number + 1
            ends.append(before)
        reads += [(end, number) for end in ends]
        joint, number = number, number + 1
    reads += [(n - 1, n) for n in range(number, operators)]
    return made(f"{width} branches of {depth}, {operators} operators", operators, reads, random)


def made(
    name: str, operators: int, reads: list[tuple[int, int]], random: Random, free: set[int] | None = None
) -> PipelineInstance:
    """An instance over this graph: six accelerators that hold 16 GB, and a CPU that takes ten times as long."""
    free = free or set()
    fast = tuple(0.0 if number in free else random.lognormvariate(0, 1) for number in range(operators))
    accelerators = Pool(name="acc", count=6, seconds=fast, memory_bytes=16 * 2.0**30)
    cpus = Pool(name="cpu", count=1, seconds=tuple(10 * seconds for seconds in fast), pays_transfers=False)
    return PipelineInstance(
        name=name,
        operators=tuple(map(str, range(operators))),
        reads=tuple(reads),
        transfer_s=tuple(0.05 * random.lognormvariate(0, 1) for _ in range(operators)),
        nbytes=tuple(1e6 * random.lognormvariate(0, 1) for _ in range(operators)),
        pools=(accelerators, cpus),
    )


def own_figures(*, quick: bool) -> list[Figure]:
    """Seconds until the optimum of made instances is proven."""
    random = Random(0)
    instances = [chain(235, random), branches(180, 2, 8, random)]
    if not quick:
        instances += [chain(783, random), branches(326, 4, 9, random)]
    found = []
    for instance in instances:
        spent = []
        for _ in range(3):
            began_s = perf_counter()
            answer = fastest_pipeline(instance)
            spent.append(perf_counter() - began_s)
        proven = isinstance(answer, PipelineAnswer) and answer.is_optimal
        method = answer.method if isinstance(answer, PipelineAnswer) else answer.detail
        label = f"{instance.name}: {'optimum proven' if proven else 'NOT proven'} ({method})"
        found.append(figure(label, median(spent), "s", TARGET_S, spread=(min(spent), max(spent))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where instance files (*.json) lie")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    fastest_pipeline(branches(20, 2, 3, Random(1)))  # compiles
    if options.folder is None:
        report("planner", own_figures(quick=options.quick), options.json)
        return
    files = sorted(options.folder.glob("*.json")) if options.folder.is_dir() else []
    if not files:
        sys.exit(f"{options.folder}: no instance files (*.json) there")
    print(json.dumps([solved(path.read_text(), path.stem) for path in files], indent=None if options.json else 2))


if __name__ == "__main__":
    main()
