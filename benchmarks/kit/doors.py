"""A model behind a door, three ways, each in a process of its own: our gateway with a worker behind it, a bare Python
gRPC handler, and Ray Serve over HTTP.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from nodes.memory import keep_memory, spare_what_is_there
from nodes.profiler import profile_model
from orchestrator.batching import Batching
from orchestrator.blueprint import pose
from orchestrator.gateway.messages import SERVICE, message
from orchestrator.own_cluster import open_cluster
from orchestrator.spec import DeploymentSpec, InputSpec
from partitioner.cost import evaluate
from partitioner.load import load
from partitioner.topology import Node, Tier, Topology

FREE = "127.0.0.1:0"
NAME, NODE, THREADS, END_S = "model", "here", 16, 30.0


def session_of(path: str) -> Any:
    """The model in ONNX Runtime, as a worker compiles it: one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def bare(pipe: Pipe, path: str) -> None:
    """ModelInfer as one would write it by hand, for one input and one output of float32."""
    keep_memory()
    session = session_of(path)
    asked, answered = message("ModelInferRequest"), message("ModelInferResponse")
    (given,), wanted = [one.name for one in session.get_inputs()], session.get_outputs()[0].name

    def infer(request: Any, _context: Any) -> Any:
        array = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(tuple(request.inputs[0].shape))
        (made,) = session.run([wanted], {given: array})
        response = answered(model_name=request.model_name)
        response.outputs.add(name=wanted, datatype="FP32", shape=made.shape)
        response.raw_output_contents.append(made.tobytes())
        return response

    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.max_receive_message_length", -1)])
    handler = grpc.unary_unary_rpc_method_handler(infer, asked.FromString, answered.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"ModelInfer": handler}),))
    pipe.send(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    pipe.recv()
    server.stop(0).wait()


def ours(pipe: Pipe, path: str, batching: Batching | None = None, slowdown: float = 1.0) -> None:
    """The gateway in this process, the model whole on one worker beside it."""
    keep_memory()
    asyncio.run(_serve(pipe, Path(path), batching, slowdown))


async def _serve(pipe: Pipe, path: Path, batching: Batching | None, slowdown: float) -> None:
    from orchestrator.gateway.doors import Doors, Listen
    from orchestrator.gateway.repository import Repository
    from orchestrator.gateway.router_source import RouterSource
    from orchestrator.gateway.serving import Serving

    topology = Topology((Node(name=NODE, tier=Tier.CLOUD, backends=("onnxruntime",)),), ())
    async with open_cluster(topology, NODE) as cluster:
        model = load(path)
        inputs = tuple(InputSpec(name=name, at=NODE) for name in model.graph.inputs)
        spec = DeploymentSpec(name=NAME, model=path, topology=topology, source=NODE, inputs=inputs)
        engines = cluster.fleet.engines(topology)
        problem = pose(spec, model, await asyncio.to_thread(profile_model, path, engines[NODE]), engines)
        plan = evaluate(problem, [problem.sites[0]] * len(model.graph.operators))
        await cluster.deploy(NAME, plan, model, slowdown=slowdown, batching=batching)
        serving = Serving(RouterSource(cluster.router))
        doors = Doors(serving, Repository(serving), Listen(grpc=FREE, http=FREE, metrics=FREE))
        await doors.open()
        spare_what_is_there()  # as the gateway's own process does
        pipe.send((doors.grpc, doors.http, doors.metrics))
        await asyncio.to_thread(pipe.recv)
        await doors.close()


def on_ray_serve(pipe: Pipe, path: str) -> None:
    """The model as a deployment of Ray Serve; raw bytes in and out over its HTTP proxy, in a Ray that ends with it."""
    import ray
    from ray import serve
    from starlette.requests import Request
    from starlette.responses import Response

    from orchestrator import local_cluster, ray_shell

    class Model:
        def __init__(self, path: str) -> None:
            self._session = session_of(path)
            self._shape = tuple(self._session.get_inputs()[0].shape)

        async def __call__(self, request: Request) -> Response:
            array = np.frombuffer(await request.body(), np.float32).reshape(self._shape)
            made = self._session.run(None, {self._session.get_inputs()[0].name: array})[0]
            return Response(made.tobytes(), media_type="application/octet-stream")

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    cluster = local_cluster.start(tied=True)
    try:
        ray_shell.connect(cluster.address, cluster.environ())
        port = _free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "ERROR"})
        deployment = serve.deployment(Model).options(ray_actor_options={"num_cpus": 0}, max_ongoing_requests=64)
        serve.run(deployment.bind(path), name=NAME, route_prefix="/")
        pipe.send(port)
        pipe.recv()
    finally:
        ray.shutdown()
        cluster.remove()


def _free_port() -> int:
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


class Behind:
    """One of these in a process of its own; `found` is what it sent once it served."""

    def __init__(self, door: Any, path: Path, **options: Any) -> None:
        from multiprocessing import get_context

        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=door, args=(theirs, str(path)), kwargs=options, daemon=False)
        self._process.start()
        theirs.close()
        self.pid = self._process.pid
        self.found: Any = self._pipe.recv()

    def close(self) -> None:
        """Have it end, and what it started."""
        with suppress(OSError):
            self._pipe.send(None)
        self._process.join(END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
