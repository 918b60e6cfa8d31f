"""What the gateway costs a request: beside the model called bare, a bare Python gRPC handler, and Ray Serve's HTTP.

python benchmarks/gateway.py [--json] [--quick]

The same model, by ONNX Runtime on one thread, in turn, round by round. One client: the overhead is the median round
trip less the median of the model alone; a ratio is of two overheads in one round. Sixteen clients: answers a second,
also with up to eight requests in a run, and what such runs gain in the bare model.
Three models: one of two small layers (16 kB in), where all is overhead; EfficientNet-Lite0 (600 kB in); and one wide
layer (16 kB in), whose 64 MB of weights are read once a run, so that it is there that runs together gain.
"""

import argparse
import http.client
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import numpy as np
import onnx
from kit.doors import NAME, Behind, bare, on_ray_serve, ours, session_of
from kit.figures import Figure, figure, report
from onnx import TensorProto, helper, numpy_helper

from isthmus import zoo
from nodes.rebatch import with_free_rows
from orchestrator.batching import Batching
from orchestrator.gateway.messages import SERVICE, message

OVER_BARE, OVER_SERVE = 3.0, 0.2
BATCHES_GAIN = 2.0
WIDE = 4096
ALONE_OR_NOT = ("gateway, gRPC", "gateway, gRPC, batches")
CLIENTS, LARGEST = 16, 8
Ask = Callable[[], object]
MADE = "made"


def two_layers(folder: Path) -> Path:
    """[1, 4096] → [1, 64] by two multiplications."""
    return layers(folder / "two.onnx", (4096, 4), (4, 64))


def one_wide_layer(folder: Path) -> Path:
    """[1, 4096] → [1, 4096] by one."""
    return layers(folder / "wide.onnx", (WIDE, WIDE))


def layers(path: Path, *sizes: tuple[int, int]) -> Path:
    """Multiplications by matrices of these sizes, one after the other."""
    from nodes.normalise import normalise

    random = np.random.default_rng(0)
    names = ["x", *(f"between{at}" for at in range(1, len(sizes))), MADE]
    weights = [
        numpy_helper.from_array(random.normal(size=size).astype(np.float32), f"w{at}") for at, size in enumerate(sizes)
    ]
    nodes = [
        helper.make_node("MatMul", [names[at], f"w{at}"], [names[at + 1]], name=f"layer{at}")
        for at in range(len(sizes))
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, wide])]
        for name, wide in (("x", sizes[0][0]), (MADE, sizes[-1][1]))
    ]
    graph = helper.make_graph(nodes, path.stem, *ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    normalise(model).save(path)
    return path


def by_grpc(port: int, name: str, shape: tuple[int, ...], data: bytes) -> Ask:
    """One call over a channel of its own."""
    channel = grpc.insecure_channel(
        f"127.0.0.1:{port}",
        options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)],
    )
    method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    request = message("ModelInferRequest")(model_name=NAME, raw_input_contents=[data])
    request.inputs.add(name=name, datatype="FP32", shape=shape)
    return lambda: method(request.SerializeToString())


def by_http(port: int, path: str, body: bytes, headers: Mapping[str, str]) -> Ask:
    """One POST over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask() -> bytes:
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        said = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {said[:200]!r}")
        return said

    return ask


def callers(path: Path, doors: Mapping[str, Any]) -> dict[str, Callable[[], Ask]]:
    """How each door is asked, by a client of its own each time."""
    session = session_of(str(path))
    given = session.get_inputs()[0]
    shape = tuple(given.shape)
    array = np.random.default_rng(0).random(shape, np.float32)
    data, feeds = array.tobytes(), {given.name: array}
    tensor = {"name": given.name, "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    grpc_port, http_port, _ = doors["ours"]
    bare_port, serve_port = doors.get("bare", 0), doors.get("serve", 0)
    return {
        "session.run": lambda: lambda: session.run(None, feeds),
        "bare gRPC": lambda: by_grpc(bare_port, given.name, shape, data),
        "gateway, gRPC": lambda: by_grpc(grpc_port, given.name, shape, data),
        "gateway, gRPC, batches": lambda: by_grpc(doors["batches"][0], given.name, shape, data),
        "gateway, REST": lambda: by_http(http_port, f"/v2/models/{NAME}/infer", text + data, headers),
        "Ray Serve": lambda: by_http(serve_port, "/", data, {}),
    }


def latency_s(ask: Ask, count: int) -> float:
    """Median of so many, one after the other."""
    seconds = []
    for _ in range(count):
        began_s = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - began_s)
    return median(seconds)


def rate_per_s(client: Callable[[], Ask], seconds: float) -> float:
    """Answers a second to CLIENTS at once."""
    asks = [client() for _ in range(CLIENTS)]
    ends_s = time.perf_counter() + seconds

    def keep_asking(ask: Ask) -> int:
        count = 0
        while time.perf_counter() < ends_s:
            ask()
            count += 1
        return count

    with ThreadPoolExecutor(CLIENTS) as pool:
        return sum(pool.map(keep_asking, asks)) / seconds


def opened(ending: ExitStack, path: Path, doors: Mapping[str, Callable[..., None]]) -> dict[str, Any]:
    """Where each of these doors is, until `ending`; the one called batches runs requests together."""
    found = {}
    for name, door in doors.items():
        behind = Behind(door, path, **({"batching": Batching(most=LARGEST)} if name == "batches" else {}))
        ending.callback(behind.close)
        found[name] = behind.found
    return found


def figures_of(title: str, path: Path, rounds: int, count: int, seconds: float) -> Iterator[Figure]:
    """All of one model."""
    with ExitStack() as ending:
        doors = opened(ending, path, {"bare": bare, "ours": ours, "batches": ours, "serve": on_ray_serve})
        clients = callers(path, doors)
        asks = {name: client() for name, client in clients.items()}
        for ask in asks.values():
            latency_s(ask, 20)
        took_s = [{name: latency_s(ask, count) for name, ask in asks.items()} for _ in range(rounds)]
        rates = [
            {name: rate_per_s(client, seconds) for name, client in clients.items() if name != "session.run"}
            for _ in range(rounds)
        ]
    for name in asks:
        found = [one[name] * 1e3 for one in took_s]
        yield figure(f"{title}, one client, {name}", median(found), "ms", spread=(min(found), max(found)))
    over = [{name: one[name] - one["session.run"] for name in one} for one in took_s]
    for ours_by, peer, target in (
        ("gateway, gRPC", "bare gRPC", OVER_BARE),
        ("gateway, gRPC", "Ray Serve", OVER_SERVE),
        ("gateway, REST", "Ray Serve", None),
    ):
        ratios = [one[ours_by] / one[peer] for one in over]
        spread = (min(ratios), max(ratios))
        yield figure(f"{title}: overhead, {ours_by} / {peer}", median(ratios), "×", target, spread=spread)
    yield from batched(title, path, rates, None if title == "two layers" else BATCHES_GAIN)


def gain_of(title: str, path: Path, rounds: int, seconds: float) -> Iterator[Figure]:
    """What batches gain with one model."""
    with ExitStack() as ending:
        doors = opened(ending, path, {"ours": ours, "batches": ours})
        clients = {name: ask for name, ask in callers(path, doors).items() if name in ALONE_OR_NOT}
        rates = [{name: rate_per_s(client, seconds) for name, client in clients.items()} for _ in range(rounds)]
    yield from batched(title, path, rates, BATCHES_GAIN)


def batched(title: str, path: Path, rates: Sequence[Mapping[str, float]], target: float | None) -> Iterator[Figure]:
    """Answers a second, what batches gain of them at the gateway, and what could be gained."""
    for name in rates[0]:
        found = [one[name] for one in rates]
        spread = (min(found), max(found))
        yield figure(f"{title}, {CLIENTS} clients, {name}", median(found), "/s", None, "higher", spread)
    alone, together = ALONE_OR_NOT
    gains = [one[together] / one[alone] for one in rates]
    spread = (min(gains), max(gains))
    yield figure(f"{title}, {CLIENTS} clients: batches / none", median(gains), "×", target, "higher", spread)
    yield from ceiling(title, path, len(rates))


def ceiling(title: str, path: Path, rounds: int) -> Iterator[Figure]:
    """What batches gain where nothing else is to be done: rows a second of the model bare, by LARGEST and by one."""
    with tempfile.TemporaryDirectory() as scratch:
        larger = Path(scratch) / path.name
        larger.write_bytes(path.read_bytes())
        session = session_of(str(with_free_rows(larger)))
    given = session.get_inputs()[0]
    one = np.random.default_rng(0).random((1, *given.shape[1:]), np.float32)
    feeds = {1: {given.name: one}, LARGEST: {given.name: np.repeat(one, LARGEST, axis=0)}}
    gains = []
    for _ in range(rounds):
        took_s = {rows: latency_s(partial(session.run, None, feed), 30) for rows, feed in feeds.items()}
        gains.append(LARGEST * took_s[1] / took_s[LARGEST])
    spread = (min(gains), max(gains))
    yield figure(f"{title}: rows a second bare, {LARGEST} at once / one", median(gains), "×", None, "higher", spread)


def main() -> None:
    """All models."""
    parser = argparse.ArgumentParser(description="What the gateway costs a request.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="the small models alone, fewer rounds")
    options = parser.parse_args()
    rounds, count, seconds = (2, 100, 1.0) if options.quick else (7, 300, 3.0)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as scratch:
        figures += figures_of("two layers", two_layers(Path(scratch)), rounds, count, seconds)
        figures += gain_of("one wide layer", one_wide_layer(Path(scratch)), rounds, seconds)
        if not options.quick:
            model = zoo.build("efficientnet_lite0")
            figures += figures_of("EfficientNet-Lite0", model, rounds, count // 5, seconds)
    report("gateway", figures, options.json)


if __name__ == "__main__":
    main()
