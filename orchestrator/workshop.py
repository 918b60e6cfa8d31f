"""From a model file and a spec to a blueprint: load, bring workers up, measure. The controller's long work."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from nodes.backend import Array, Option, installed_backends
from nodes.rebatch import rebatched
from nodes.store import Store
from orchestrator.artifacts import stage_artifact
from orchestrator.batching import CURVE
from orchestrator.blueprint import Blueprint
from orchestrator.calibration import message_costs
from orchestrator.fleet import Fleet
from orchestrator.model_file import read_model
from orchestrator.profiling import Bench, Insides, Segment, learn, measure, time_batch
from orchestrator.spec import DeploymentSpec
from orchestrator.tuning.batches import middle, rows_of, with_batches
from orchestrator.tuning.knobs import Setting
from orchestrator.tuning.on_nodes import tune_engines
from orchestrator.tuning.tune import CONFIRMED
from orchestrator.tuning.tuners import check_tuner
from partitioner.errors import InvalidModel
from partitioner.load import Model
from partitioner.profile import EngineKey, Profile
from partitioner.sources import operator_of, sources_of
from partitioner.stateful import beside
from partitioner.topology import NodeId

TIMED_RUNS = 25
MEASURED_WITHIN_S = 300.0  # beside what an engine is given to tune itself first


class Workshop:
    """Makes blueprints, and remembers what it measured: message costs per cluster, profiles per model and question."""

    def __init__(self, fleet: Fleet, store: Store, say: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._store = store
        self._say = say
        self._insides = Insides()
        self._message_costs: tuple[float, float] | None = None
        self._profiles: dict[str, Profile] = {}  # by question
        self._known: dict[str, Profile] = {}  # by model and engines, whatever was asked
        self._batched: dict[str, Profile] = {}  # by question, with batch curves

    async def blueprint(
        self,
        spec: DeploymentSpec,
        path: Path,
        samples: tuple[Mapping[str, Array], ...],
        profile: Profile | None = None,
        *,
        tune_s: float = 0.0,
        tuner: str = "learned",
    ) -> Blueprint:
        """Everything needed to plan; measures what no profile given or remembered tells, after tuning if asked.

        `tuner` is one of TUNERS; ClusterError, before anything is started, for one that lacks its package.
        """
        check_tuner(tuner)
        model = await asyncio.to_thread(read_model, spec, path)
        await self._fleet.bring_up(spec.topology)
        engines = self._fleet.engines(spec.topology)
        if profile is None:
            profile = await self._profile(spec, model, path, samples, tune_s, tuner)
        blueprint = Blueprint(spec=spec, model=model, profile=profile, engines=engines)
        if spec.batching is None or spec.batching.most is not None:
            return blueprint
        return await self._with_best_batches(blueprint, path)

    async def _with_best_batches(self, blueprint: Blueprint, path: Path) -> Blueprint:
        """The blueprint with each engine's best batch among its options, from a curve given, remembered or timed now.

        A model that takes no other number of rows stays as it is.
        """
        question = f"{blueprint.model.sha256} {blueprint.spec.digest} {blueprint.profile.engines.keys()}"
        if all(one.batch_s for one in blueprint.profile.engines.values()):
            return replace(blueprint, profile=with_batches(blueprint.profile, blueprint.model.graph))
        if question not in self._batched:
            try:
                rows = [count * rows_of(blueprint.model.graph) for count in CURVE]
                self._batched[question] = (await self.batch_curves(blueprint, path, rows, choose=True)).profile
            except InvalidModel as refused:
                self._say(f"every request runs alone: {refused}")
                self._batched[question] = blueprint.profile
        return replace(blueprint, profile=self._batched[question])

    async def learn(
        self, blueprint: Blueprint, path: Path, samples: tuple[Mapping[str, Array], ...], segments: int
    ) -> Blueprint:
        """The blueprint with up to so many segments timed on each engine, for the cost model of all others."""
        bench = self.bench(blueprint.spec, blueprint.model, path, samples, _options(blueprint.profile))
        return replace(blueprint, profile=await learn(bench, blueprint.profile, most=segments))

    async def batch_curves(
        self, blueprint: Blueprint, path: Path, rows: Collection[int], *, choose: bool = False
    ) -> Blueprint:
        """The blueprint with the whole model timed on each engine at so many rows at once.

        `choose`: the best batch goes to each engine's options; all are then timed in turn, one request alone too.
        InvalidModel for a model that takes no more rows than it does.
        """
        alone = (rows_of(blueprint.model.graph),) if choose and rows else ()
        passes = []
        with TemporaryDirectory(prefix=".batch-", dir=self._store.root) as scratch:
            benches = {count: await self._bench_of(blueprint, path, count, Path(scratch)) for count in (*alone, *rows)}
            for _ in range(CONFIRMED if choose else 1):
                found = blueprint.profile
                for count, bench in benches.items():
                    self._say(f"timing batches of {count}")
                    found = await time_batch(bench, found, count)
                passes.append(found)
        found = middle(passes)
        return replace(blueprint, profile=with_batches(found, blueprint.model.graph) if choose else found)

    async def _bench_of(self, blueprint: Blueprint, path: Path, rows: int, scratch: Path) -> Bench:
        """The bench of the same model with so many rows."""
        larger = await asyncio.to_thread(rebatched, path, rows, scratch / f"model-{rows}.onnx")
        model = await asyncio.to_thread(read_model, blueprint.spec, larger)
        return self.bench(blueprint.spec, model, larger, ({},), _options(blueprint.profile))

    async def _profile(
        self,
        spec: DeploymentSpec,
        model: Model,
        path: Path,
        samples: tuple[Mapping[str, Array], ...],
        tune_s: float,
        tuner: str,
    ) -> Profile:
        question = f"{model.sha256} {spec.digest}"
        if question in self._profiles and not tune_s:
            return self._profiles[question]
        each_s, byte_s = await self.message_costs(spec)
        tuned = await self._tune(spec, model, path, samples, tune_s, tuner) if tune_s else {}
        bench = self.bench(spec, model, path, samples, tuned)
        which = f"{model.sha256} {sorted({key for keys in bench.engines.values() for key in keys})}"
        known = None if tune_s else self._known.get(which)
        found = await measure(bench, message_s=each_s, message_s_per_byte=byte_s, known=known)
        if tune_s:
            engines = {key: replace(one, options=tuned.get(key, ())) for key, one in found.engines.items()}
            found = replace(found, engines=engines)
        self._profiles[question] = self._known[which] = found
        return found

    async def _tune(
        self,
        spec: DeploymentSpec,
        model: Model,
        path: Path,
        samples: tuple[Mapping[str, Array], ...],
        budget_s: float,
        tuner: str,
    ) -> dict[EngineKey, Setting]:
        graph = model.graph
        everything = tuple(operator.name for operator in graph.operators)
        keys = dict.fromkeys(key for some in self._fleet.engines(spec.topology).values() for key in some)

        async def time_whole(key: EngineKey, options: Mapping[str, Option]) -> float:
            bench = self.bench(spec, model, path, samples, {key: tuple(options.items())})
            return await bench.time_segment((key, everything, graph.inputs, graph.outputs))

        return await tune_engines(
            graph, model.sha256, tuple(keys), time_whole, budget_s=budget_s, say=self._say, tuner=tuner
        )

    async def message_costs(self, spec: DeploymentSpec) -> tuple[float, float]:
        """Seconds per message and per byte of software between here and the source's worker; measured once."""
        if self._message_costs is None:
            self._say("timing messages")
            self._message_costs = await message_costs(self._fleet, spec.source, self._store)
        return self._message_costs

    def bench(
        self,
        spec: DeploymentSpec,
        model: Model,
        path: Path,
        samples: tuple[Mapping[str, Array], ...],
        tuned: Mapping[EngineKey, Setting] = {},
    ) -> Bench:
        """What profiling a model needs, its engines `tuned` or as they are; workers of the spec's nodes must be up."""
        engines = self._fleet.engines(spec.topology)
        at = {key: node for node, keys in reversed(list(engines.items())) for key in keys}

        async def time_segment(segment: Segment) -> float:
            key, node = segment[0], at[segment[0]]
            options = dict(tuned.get(key, ())) | spec.topology.node(node).options_of(key.backend)
            return await self._time(segment, options, model, path, node, samples)

        return Bench(
            spec=spec,
            model=model,
            path=path,
            samples=samples,
            engines=engines,
            local=installed_backends(),
            time_segment=time_segment,
            say=self._say,
        )

    async def _time(
        self,
        segment: Segment,
        options: Mapping[str, Option],
        model: Model,
        path: Path,
        node: NodeId,
        samples: tuple[Mapping[str, Array], ...],
    ) -> float:
        """Median seconds of a segment on a node, unslowed; what sensors put there is given to it."""
        key, operators, inputs, outputs = segment
        held = sources_of(model.graph)
        operators = tuple(name for name in operators if name not in {operator_of(one) for one in held.values()})
        if not operators:
            return 0.0
        inputs = tuple(held.get(name, name) for name in inputs)
        outputs = tuple(name for name in outputs if name not in held.values())  # an input of what is timed
        sha = await asyncio.to_thread(stage_artifact, model, operators, inputs, outputs, self._store)
        await self._fleet.give(node, self._store.path(sha), sha)
        state, kept = beside(model, operators)
        feeds = await asyncio.to_thread(self._insides.feeds, model, path, (*inputs, *state.values(), *kept), samples[0])
        tunes_s = options.get("budget_s", 0.0)
        measured = await self._fleet.call(
            node,
            "measure",
            sha,
            backend=key.backend,
            precision=key.precision,
            threads=key.threads,
            options=options,
            runs=TIMED_RUNS,
            feeds=feeds,
            timeout_s=MEASURED_WITHIN_S + (tunes_s if isinstance(tunes_s, int | float) else 0.0),
        )
        return float(measured.median_s)


def _options(profile: Profile) -> dict[EngineKey, Setting]:
    """The settings that each engine was profiled under."""
    return {key: engine.options for key, engine in profile.engines.items()}
