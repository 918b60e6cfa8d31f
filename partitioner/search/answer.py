"""Which solver answers a problem: the special one wherever it is exact, the general one for everything else."""

from dataclasses import replace

from partitioner.plan import Infeasible, Plan
from partitioner.problem import Limits, Problem
from partitioner.search.explain import why_apart
from partitioner.search.mincut import EFFORT, solve
from partitioner.search.questions import beyond, check_question
from partitioner.tables import price_list

SECONDS = 20.0
FEW = 3
LARGE = 5_000  # operators beyond which an integer program is not posed merely to close a gap


def answer(problem: Problem, *, seconds: float = SECONDS) -> Plan | Infeasible:
    """The best plan by `problem.objective` within `problem.limits`, certified; Infeasible names what binds.

    Minimum cuts for latency (mincut.py), ideals for throughput (relay.py), branches side by side (parallel.py), mixed
    integer programs for the rest (mixed.py) and for a gap that cuts left, as tight memory makes them. Programs alone
    have use for `seconds`, of the solver's own time.
    InvalidProblem for a question that can't be asked.
    """
    check_question(problem)
    if problem.together and (refused := why_apart(price_list(problem))) is not None:
        return refused
    if problem.parallel:
        from partitioner.search.parallel import soonest  # these bring HiGHS or numba, which take their time to load

        few = len(problem.sites) <= FEW  # where a branch may leave a site and the join come back to it
        return soonest(problem, seconds=seconds, stages_per_site=2 if few else 1)
    plain = problem.forward_only and not problem.together
    if problem.forward_only and problem.objective == "throughput" and problem.limits.none:
        from partitioner.search.relay import fastest

        return fastest(problem)
    if plain and problem.objective == "latency" and problem.limits == Limits(latency_s=problem.limits.latency_s):
        return _in_time(problem, seconds)
    from partitioner.search.mixed import best

    return best(problem, seconds=seconds)


def _in_time(problem: Problem, seconds: float) -> Plan | Infeasible:
    """The plan of least latency, if that is soon enough."""
    found = _soonest(replace(problem, limits=Limits()), seconds)
    most_s = problem.limits.latency_s
    if isinstance(found, Infeasible) or most_s is None or found.predicted.latency_s <= most_s:
        return found
    measured = any(engine.segment_s for engine in problem.profile.engines.values())
    bound_s = 0.0 if measured or found.certificate is None else found.certificate.lower_bound
    proven = bound_s > most_s
    detail = beyond("latency_s", most_s, bound_s if proven else found.predicted.latency_s, proven=proven)
    return Infeasible(constraint="latency", detail=detail, proven=proven)


def _soonest(problem: Problem, seconds: float) -> Plan | Infeasible:
    """The plan of least latency: by cuts, and by a program too where cuts leave a gap that it may close."""
    found = solve(problem, effort=EFFORT // 3)
    if not _open(problem, found) or len(problem.graph.operators) > LARGE:
        return found
    from partitioner.search.mixed import best

    other = best(problem, seconds=seconds)
    if isinstance(other, Infeasible) or isinstance(found, Infeasible):
        return found if isinstance(other, Infeasible) else other
    return min(other, found, key=lambda plan: plan.predicted.latency_s)


def _open(problem: Problem, found: Plan | Infeasible) -> bool:
    """Whether there may be a better plan. Where segments were timed a gap is common, and closed unless memory binds."""
    if isinstance(found, Infeasible):
        return not found.proven
    if found.certificate is None or found.certificate.status == "optimal":
        return False
    measured = any(engine.segment_s for engine in problem.profile.engines.values())
    needed, topology = sum(problem.graph.weights_bytes.values()), problem.topology
    most = [topology.node(site.node).memory_bytes for site in problem.sites]
    return not measured or any(memory is not None and memory < needed for memory in most)
