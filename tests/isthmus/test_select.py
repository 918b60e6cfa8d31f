"""`isthmus select`: what it refuses, prints, draws, and takes up again. Engines stand in but for one test."""

import json
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from isthmus.plot.trade_off import trade_off_svg
from isthmus.verbs import select as verb
from nodes.selecting.cells import Measured
from orchestrator.selecting.asked import Asked
from orchestrator.selecting.campaign import Findings
from orchestrator.selecting.cells import Row
from orchestrator.selecting.comparison import Comparison, compare
from orchestrator.selecting.ranking import Bound, choose, pareto
from tests.eventually import eventually
from tests.isthmus.conftest import Isthmus
from tests.isthmus.foreground import Foreground
from tests.isthmus.given import CAMERA, UPLINK, model_file, topology_file
from tests.nodes.onnx_models import dense, two_inputs
from tests.orchestrator.selecting.given import HALF, ORT, OV, Engines, ran, row
from tests.pictures import SVG, drawn, overlapping, words


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return model_file(tmp_path)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    """Two engines: OpenVINO in float32 is the fastest, in bfloat16 it is off by an eighth."""
    stand_in = Engines({ORT: ran(0.02), OV: ran(0.01), HALF: ran(0.008)}, off={HALF: 0.125})
    monkeypatch.setattr(verb, "compare", partial(compare, ask_process=stand_in))
    return stand_in


ALL = ("--backends", "onnxruntime,openvino", "--threads", "1", "--batches", "1", "--variants", "float32")


def test_the_recommendation_comes_with_its_reason(isthmus: Isthmus, model: Path, engines: Engines) -> None:
    ended = isthmus("select", model, *ALL)
    assert ended.code == 0
    assert "take openvino float32 ×1: the lowest median latency, 10 ms; 2 of 3 that ran" in ended.out
    assert "errors are shares of the largest output, against onnxruntime float32 ×1" in ended.out
    assert ended.err == ""


def test_a_looser_error_lets_the_faster_in(isthmus: Isthmus, model: Path, engines: Engines) -> None:
    told = json.loads(isthmus("select", model, *ALL, "--max-error", "0.2", "--json").out)
    assert told["recommendation"]["cell"] == "openvino bfloat16 ×1"
    by_name = {f"{one['cell']['backend']} {one['cell']['precision']}": one for one in told["rows"]}
    assert by_name["openvino bfloat16"]["figures"]["accuracy"]["max_error"] == pytest.approx(0.125)
    assert {name: (one["pareto"], one["recommended"]) for name, one in by_name.items()} == {
        "openvino bfloat16": (True, True),
        "openvino float32": (True, False),
        "onnxruntime float32": (False, False),
    }


def test_what_is_not_installed_is_a_row_and_no_fault(isthmus: Isthmus, model: Path, engines: Engines) -> None:
    ended = isthmus("select", model, "--backends", "onnxruntime,onnxruntime-cuda", *ALL[2:])
    assert ended.code == 0
    assert "onnxruntime-cuda float32 ×1: refused: onnxruntime-cuda is not installed" in ended.out


def test_a_crash_is_a_row_and_no_fault(isthmus: Isthmus, model: Path, engines: Engines) -> None:
    engines.says[OV] = Measured(state="crashed", reason="crashed: SIGSEGV")
    ended = isthmus("select", model, *ALL)
    assert ended.code == 0
    assert "openvino float32 ×1: crashed: crashed: SIGSEGV" in ended.out


def test_if_nothing_keeps_the_error_it_exits_1_and_still_shows_all(
    isthmus: Isthmus, model: Path, engines: Engines
) -> None:
    ended = isthmus("select", model, "--backends", "openvino", "--precisions", "bfloat16", *ALL[2:])
    assert ended.code == 1
    assert "openvino bfloat16 ×1" in ended.out
    assert ended.line == (
        "nothing to recommend: no engine keeps its error within 0.01; the least is openvino bfloat16 ×1 with 0.12"
    )


def test_an_engine_alone_is_still_held_against_onnx_runtime(isthmus: Isthmus, model: Path, engines: Engines) -> None:
    told = json.loads(isthmus("select", model, "--backends", "openvino", *ALL[2:], "--json").out)
    assert {one["cell"]["backend"] for one in told["rows"]} == {"openvino"}
    assert told["reference"]["here"]["cell"] == "onnxruntime float32 ×1"
    assert told["reference"]["here"]["p50_s"] == [0.02, 0.02, 0.02]


def test_if_nothing_ran_the_first_reason_is_told(isthmus: Isthmus, model: Path, engines: Engines) -> None:
    ended = isthmus("select", model, "--backends", "onnxruntime-cuda", *ALL[2:])
    assert ended.code == 1
    assert ended.line == "nothing to recommend: nothing ran: onnxruntime-cuda is not installed"


def test_ctrl_c_leaves_what_was_measured_for_the_next_time(isthmus: Isthmus, model: Path, engines: Engines) -> None:
    held, engines.says[HALF] = engines.says[HALF], KeyboardInterrupt()
    ended = isthmus("select", model, *ALL)
    assert (ended.code, ended.line) == (1, "interrupted; what this command started is stopped")
    engines.says[HALF] = held
    engines.asked.clear()
    told = json.loads(isthmus("select", model, *ALL, "--json").out)
    assert engines.asked == [HALF, ORT]
    assert told["resumed"] == 2


def test_nodes_bring_threads_watts_and_prices(isthmus: Isthmus, model: Path, engines: Engines, tmp_path: Path) -> None:
    camera = CAMERA | {"slowdown": 4, "active_w": 5, "usd_per_hour": 0.36, "threads": 1}
    mec = CAMERA | {"name": "mec", "tier": "edge", "purchase_usd": 500}
    topology = topology_file(tmp_path, nodes=[camera, mec], links=[UPLINK | {"to": "mec"}])
    told = json.loads(isthmus("select", model, "-T", topology, "--nodes", "camera,mec", "--json", *ALL[4:]).out)
    by_node = {one["node"]: one["figures"] for one in told["rows"]}
    assert by_node["camera"]["speed"]["p50_s"] == pytest.approx(0.08)
    assert by_node["camera"]["cost"]["usd_per_million"] == pytest.approx(0.36 / 3600 * 0.08 * 1e6)
    assert by_node["camera"]["cost"]["energy_source"] == "estimated"
    assert by_node["mec"]["cost"]["energy_source"] is None
    assert told["prices"] == {"camera": "$0.36 an hour, busy for 100%", "mec": "$500 over 3 years, busy for 100%"}
    assert engines.asked == [ORT]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--backends", "openvin"), "no backend 'openvin'; there are onnxruntime"),
        (("--precisions", "fp16"), "no precision 'fp16'; engines here compute in float32"),
        (("--goal", "joy"), "no goal 'joy'; there are latency, throughput, energy, cost"),
        (("--goal", "cost"), "--goal cost needs a price: give --usd-per-hour"),
        (("--goal", "energy"), "give nodes with active_w by --topology"),
        (("--usd-per-hour", "1", "--purchase-usd", "1"), "are both given; keep one"),
        (("--max-error", "2"), "--max-error 2: should be from 0 to 1"),
        (("--threads", "none"), "--threads none: should be whole numbers from 1 up"),
        (("--batches", "0"), "--batches 0: should be whole numbers from 1 up"),
        (("--nodes", "camera"), "--nodes camera: nodes of which topology?"),
        (("--labels", "a.npy"), "--labels a.npy: labels of which samples? give them by --data"),
        (("--max-loss", "1"), "--max-loss 1 is of top-1, which takes the samples' labels; give --labels"),
        (("--labels", "a.npy", "--data", "a", "--max-loss", "-1"), "should be from 0 to 100 percentage points"),
        (("--address", "127.0.0.1:1"), "no Ray at 127.0.0.1:1"),
        (("--plot", "a.png"), "--plot a.png: an SVG is drawn; name a file that ends in .svg"),
        (("--data", "absent.npy"), "no file absent.npy; give a .npz, .npy or image file"),
        (("--shape", "z=1,8"), "has no input 'z'; it has x"),
        (("--shape", "x"), "--shape x: should be NAME=1,3,224,224"),
    ],
)
def test_an_option_that_does_not_fit_is_named(
    isthmus: Isthmus,
    model: Path,
    engines: Engines,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.setattr("orchestrator.selecting.asked.read_uj", dict)
    ended = isthmus("select", model, *arguments)
    assert ended.code == 1
    assert told in ended.line
    assert engines.asked == []


def test_a_model_that_is_not_there_is_named(isthmus: Isthmus) -> None:
    assert isthmus("select", "absent.onnx").line == "no file absent.onnx; give an ONNX model"


def test_a_node_that_is_elsewhere_is_refused(isthmus: Isthmus, model: Path, tmp_path: Path) -> None:
    far = topology_file(tmp_path, nodes=[CAMERA | {"address": "10.0.0.2:7000"}], links=[])
    ended = isthmus("select", model, "-T", far)
    assert ended.code == 1
    assert "node camera is at 10.0.0.2:7000, and select measures this machine only" in ended.line


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({"x": np.zeros((1, 7), np.float32)}, "'x' is float32[1, 7]; the model takes x float32[1, 8]"),
        ({"x": np.zeros((1, 8), np.float64)}, "'x' is float64"),
        ({"z": np.zeros((1, 8), np.float32)}, "missing 'x'; the model takes x float32[1, 8]"),
    ],
)
def test_data_that_does_not_fit_is_told(
    isthmus: Isthmus, model: Path, engines: Engines, tmp_path: Path, held: dict[str, np.ndarray], told: str
) -> None:
    np.savez(tmp_path / "data.npz", allow_pickle=False, **held)
    ended = isthmus("select", model, "--data", tmp_path / "data.npz", *ALL)
    assert ended.code == 1
    assert told in ended.line


def test_several_inputs_come_from_one_archive(isthmus: Isthmus, engines: Engines, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", ids=np.arange(5), gain=np.array(2.5, np.float32))
    model = model_file(tmp_path, two_inputs())
    told = json.loads(isthmus("select", model, "--data", tmp_path / "data.npz", *ALL, "--json").out)
    assert told["data"] == f"1 of {tmp_path / 'data.npz'}, which forms were calibrated by too"
    assert told["recommendation"]["backend"] == "openvino"


def test_labels_give_top_1_and_bound_what_is_lost(
    isthmus: Isthmus, model: Path, engines: Engines, tmp_path: Path
) -> None:
    np.save(tmp_path / "data.npy", np.zeros((4, 1, 8), np.float32))
    (tmp_path / "labels.txt").write_text("0\n3\n1\n3\n")
    engines.off = {HALF: 2.0}  # then its second answer is class 1, not 2
    given = ("--data", tmp_path / "data.npy", "--labels", tmp_path / "labels.txt", *ALL)
    ended = isthmus("select", model, *given, "--max-loss", "10")
    assert ended.code == 0
    assert "top-1 and top-5 are of 2 rows of scores" in ended.out
    shares = {line.split(" ×1")[0].split(" ", 2)[-1].strip(): line.split()[-1] for line in ended.out.splitlines()[1:4]}
    assert shares == {"openvino float32": "50.0%", "openvino bfloat16": "100.0%", "onnxruntime float32": "50.0%"}
    assert (
        "take openvino bfloat16 ×1: the lowest median latency, 8 ms; 3 of 3 that ran lose at most 10 points"
        in ended.out
    )


def comparison(rows: list[Row], max_error: float = 0.01) -> Comparison:
    return Comparison(
        asked=Asked(model=Path("model.onnx"), max_error=max_error),
        rows=tuple(rows),
        front=pareto(rows, ("p50_s", "error")),
        choice=choose(rows, goal="latency", bound=Bound(max_error=max_error)),
        findings={"here": Findings(measured={}, reference=ORT)},
        machines={"here": "a machine"},
        data="8 of photos",
    )


def test_the_picture_names_every_engine_and_no_words_lie_over_each_other() -> None:
    rows = [row(ORT, p50_s=0.0201), row(OV, p50_s=0.02, error=2e-6), row(HALF, p50_s=0.019, error=0.0099)]
    svg = trade_off_svg(comparison(rows))
    assert {one.cell.name for one in rows} <= set(words(svg))
    assert overlapping(svg) == []
    assert len([one for one in drawn(svg).iter(f"{SVG}circle") if one.get("fill") == "none"]) == 1


def test_the_picture_of_many_equals_keeps_its_words_apart() -> None:
    rows = [row(ORT, p50_s=0.02 + i * 1e-5, error=1e-3) for i in range(20)]
    svg = trade_off_svg(comparison(rows))
    assert overlapping(svg) == []


def test_a_picture_of_nothing_says_so() -> None:
    refused = Row(node="here", cell=OV, state="refused", reason="no")
    assert "nothing ran that could be compared" in words(trade_off_svg(comparison([refused])))


def test_the_picture_is_written_where_it_is_asked_for(
    isthmus: Isthmus, model: Path, engines: Engines, tmp_path: Path
) -> None:
    plot = tmp_path / "out.svg"
    assert isthmus("select", model, *ALL, "--plot", plot).code == 0
    assert "openvino bfloat16 ×1" in words(plot.read_text())
    ended = isthmus("select", model, *ALL, "--plot", tmp_path / "absent" / "out.svg")
    assert "cannot write" in ended.line


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Foreground]]:
    begun: list[Foreground] = []

    def run(*arguments: object) -> Foreground:
        begun.append(Foreground(tmp_path / "home", *arguments))
        return begun[-1]

    yield run
    for command in begun:
        command.kill_all()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_comparison_that_was_ended_leaves_no_process_and_goes_on(
    start: Callable[..., Foreground], tmp_path: Path, number: int
) -> None:
    asked = ("select", model_file(tmp_path, dense()), *ALL[2:4], "--backends", "onnxruntime", "--variants", "float16")
    folder = tmp_path / "home" / "isthmus" / "select"
    command = start(*asked)
    eventually(lambda: list(folder.glob(f"*/measured/{'?' * 32}.json")), within_s=120, what="the first cell measured")
    command.end(number)
    command.leaves_nothing()
    again = start(*asked, "--json")
    assert again.process.wait(120) == 0
    told = json.loads(again.said.read_text())
    assert told["resumed"] >= 1
    assert [one["state"] for one in told["rows"]] == ["ran", "ran"]
    assert [[one["batch"] for one in each["figures"]["speed"]["batches"]] for each in told["rows"]] == [[2, 4, 8]] * 2
