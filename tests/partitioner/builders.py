"""Small graphs and problems, built by hand or drawn at random from a seed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from random import Random

from partitioner.constraints import violation
from partitioner.cost import price_stages
from partitioner.errors import InvalidProblem
from partitioner.graph import Activation, Graph, Operator
from partitioner.plan import Plan
from partitioner.problem import Problem, Site
from partitioner.profile import CodecFigure, EngineKey, EngineProfile, Profile, TensorFigure
from partitioner.stages import form_stages
from partitioner.tables import price_list
from partitioner.topology import Link, Node, Tier, Topology

NAMES = ("camera", "mec", "cloud")


def graph_of(
    reads: Sequence[Sequence[str]], sizes: dict[str, int], outputs: Sequence[str], weights: Mapping[int, Sequence[str]]
) -> Graph:
    """Operator i reads the tensors `reads[i]` and makes "t{i}"; tensors "x…" are inputs; sizes in float32s."""
    made = [f"t{i}" for i in range(len(reads))]
    inputs = sorted({name for row in reads for name in row if name.startswith("x")})
    activations = {
        name: Activation(
            name=name,
            shape=(sizes.get(name, 1),),
            dtype="float32",
            producer=int(name[1:]) if name in made else None,
            consumers=tuple(i for i, row in enumerate(reads) if name in row),
        )
        for name in (*inputs, *made)
    }
    operators = tuple(
        Operator(
            name=f"op{i}",
            op_type="Relu",
            domain="",
            inputs=tuple(dict.fromkeys(row)),
            outputs=(made[i],),
            weights=tuple(weights.get(i, ())),
        )
        for i, row in enumerate(reads)
    )
    return Graph(
        name="drawn",
        operators=operators,
        activations=activations,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        weights_bytes={name: 100 for row in weights.values() for name in row},
    )


def chain_graph(count: int, size: int = 1000) -> Graph:
    """x → op0 → op1 → … with activations of `size` floats."""
    reads = [["x"], *([f"t{i}"] for i in range(count - 1))]
    sizes = {"x": size, **{f"t{i}": size for i in range(count)}}
    return graph_of(reads, sizes, [f"t{count - 1}"], {})


def line_of(
    rates_bytes_per_s: Sequence[float], propagation_s: float = 0.004, slowdowns: Sequence[float] = ()
) -> Topology:
    """camera – mec – cloud (as many as there are rates, plus one), joined in a row both ways."""
    slow = (*slowdowns, 1.0, 1.0, 1.0)
    nodes = tuple(
        Node(name=NAMES[i], tier=Tier(i), backends=("ort",), slowdown=slow[i])
        for i in range(len(rates_bytes_per_s) + 1)
    )
    links = []
    for i, rate in enumerate(rates_bytes_per_s):
        for a, b in ((i, i + 1), (i + 1, i)):
            links.append(Link(source=NAMES[a], target=NAMES[b], bytes_per_s=rate, propagation_s=propagation_s))
    return Topology(nodes, tuple(links))


def site(node: str, backend: str = "ort") -> Site:
    return Site(node=node, engine=EngineKey(node_class=node, backend=backend))


def simple_problem(
    graph: Graph, topology: Topology, op_s: float = 0.001, call_s: float = 0.0, **changed: object
) -> Problem:
    """Every node runs every operator in `op_s`; inputs appear and outputs return at the camera."""
    sites = tuple(site(node.name) for node in topology.nodes)
    engine = EngineProfile(operator_s={operator.name: op_s for operator in graph.operators}, call_s=call_s)
    asked: dict[str, object] = {
        "graph": graph,
        "topology": topology,
        "profile": Profile(model="m", engines={one.engine: engine for one in sites}),
        "sites": sites,
        "source": "camera",
        "outputs_to": dict.fromkeys(graph.outputs, "camera"),
    }
    return Problem(**(asked | changed))  # type: ignore[arg-type]


def random_problem(seed: int, tiers: int, operators: int, memory: bool = False) -> Problem:
    """Any DAG, several consumers, inputs and outputs, codecs, pins, privacy, two engines somewhere."""
    draw = Random(seed)
    inputs = [f"x{i}" for i in range(draw.randint(1, 2))]
    reads: list[list[str]] = []
    for i in range(operators):
        known = inputs + [f"t{j}" for j in range(i)]
        reads.append(draw.sample(known[-4:], draw.randint(1, min(3, len(known[-4:])))))
    sizes = {name: draw.choice((10, 100, 1000, 4000)) for name in (*inputs, *(f"t{i}" for i in range(operators)))}
    unread = [f"t{i}" for i in range(operators) if not any(f"t{i}" in row for row in reads)]
    outputs = sorted(
        {*unread, *draw.sample([f"t{i}" for i in range(operators)], min(operators, draw.choice((0, 0, 1, 2))))}
    )
    pool = [f"w{i}" for i in range(operators)]
    weights = {i: draw.sample(pool, draw.randint(0, min(2, operators))) for i in range(operators)} if memory else {}
    graph = graph_of(reads, sizes, outputs, weights)
    topology = _random_topology(draw, tiers, memory)
    sites = [site(node.name) for node in topology.nodes]
    if draw.random() < 0.4:
        sites.append(site(draw.choice(NAMES[:tiers]), "ov"))
    problem = Problem(
        graph=graph,
        topology=topology,
        profile=_random_profile(draw, graph, sites),
        sites=tuple(sites),
        source=draw.choice(("camera", "camera", "camera", NAMES[tiers - 1])),
        outputs_to=dict.fromkeys(graph.outputs, "camera") | {outputs[0]: draw.choice(NAMES[:tiers])},
        private=frozenset(draw.sample(list(graph.inputs), 1) if draw.random() < 0.3 else ()),
        pinned={f"op{draw.randrange(operators)}": draw.choice(NAMES[:tiers])} if draw.random() < 0.2 else {},
        max_error=draw.choice((0.0, 0.05, 1.0)),
        codecs=("raw", "fp16", "int8"),
    )
    if draw.random() < 0.2:
        return replace(problem, within={draw.choice(sorted(graph.activations)): Tier(draw.randrange(2))})
    return problem


def _random_topology(draw: Random, tiers: int, memory: bool) -> Topology:
    nodes = tuple(
        Node(
            name=NAMES[i],
            tier=Tier(i),
            backends=("ort",),
            slowdown=draw.choice((1.0, 2.0, 8.0)),
            memory_bytes=draw.choice((None, 200, 400)) if memory else None,
        )
        for i in range(tiers)
    )
    links = []
    for i in range(tiers - 1):
        for a, b in ((i, i + 1), (i + 1, i)):
            rate, late = draw.choice((1e5, 1e6, 1e7)), draw.choice((0.0, 1e-4, 4e-3))
            links.append(Link(source=NAMES[a], target=NAMES[b], bytes_per_s=rate, propagation_s=late))
    if tiers == 3 and draw.random() < 0.4:  # a way past the middle, sometimes better for small messages only
        links.append(Link(source="camera", target="cloud", bytes_per_s=draw.choice((1e5, 1e7)), propagation_s=5e-3))
    return Topology(nodes, tuple(links))


def _random_profile(draw: Random, graph: Graph, sites: Sequence[Site]) -> Profile:
    engines = {}
    for one in sites:
        times = {op.name: draw.choice((0.0, 1e-4, 1e-3, 3e-3)) for op in graph.operators}
        if draw.random() < 0.1:
            del times[draw.choice(sorted(times))]
        engines[one.engine] = EngineProfile(operator_s=times, call_s=draw.choice((0.0, 2e-4)))
    codecs = {
        "raw": CodecFigure(encode_s_per_byte=0.0, decode_s_per_byte=0.0),
        "fp16": CodecFigure(
            encode_s_per_byte=draw.choice((0, 1e-8, 2e-7)), decode_s_per_byte=draw.choice((0, 1e-8, 3e-7))
        ),
        "int8": CodecFigure(encode_s_per_byte=draw.choice((1e-8, 1e-7)), decode_s_per_byte=draw.choice((1e-8, 1e-7))),
    }
    tensors = {
        name: {
            "fp16": TensorFigure(ratio=0.5, error=0.001),
            "int8": TensorFigure(
                ratio=draw.choice((0.25, 0.3)),
                error=draw.choice((0.01, 0.1)),
                encode_s_per_byte=(own_speed := draw.choice((None, 1e-8, 4e-8))),
                decode_s_per_byte=own_speed,
            ),
            "raw": TensorFigure(ratio=1.0, error=0.0, encode_s_per_byte=1e-7, decode_s_per_byte=1e-7),
        }
        for name in graph.activations
        if draw.random() < 0.7
    }
    return Profile(model="m", engines=engines, codecs=codecs, tensors=tensors, message_s=1e-4, message_s_per_byte=1e-10)


def evaluator(problem: Problem) -> Callable[..., Plan]:
    """`evaluate` for many assignments and codecs of one problem, whose arrays are made once."""
    prices = price_list(problem)

    def evaluate(row: Sequence[Site], codecs: Mapping[str, str] | None = None) -> Plan:
        return price_stages(prices, form_stages(problem, row), codecs)

    return evaluate


def brute_force(problem: Problem) -> list[Plan]:
    """Every allowed forward-only plan, fastest first: each edge up the tiers, one site a tier at most."""
    graph = problem.graph
    tier = {one: problem.topology.node(one.node).tier for one in problem.sites}
    edges = [
        (one.producer, reader)
        for one in graph.activations.values()
        if one.producer is not None
        for reader in one.consumers
    ]
    plans, evaluate = [], evaluator(problem)
    for row in product(problem.sites, repeat=len(graph.operators)):
        used = set(row)
        if len({tier[one] for one in used}) < len(used) or any(tier[row[a]] > tier[row[b]] for a, b in edges):
            continue
        try:
            plan = evaluate(row)
        except InvalidProblem:
            continue
        if violation(problem, plan) is None:
            plans.append(plan)
    return sorted(plans, key=lambda plan: plan.predicted.latency_s)
