"""Files that a scenario names: traces, drawn ones like them, places, GPUs' power, block errors. All are of our own."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import SpecError
from simulations import build
from simulations.draws import Draws
from simulations.radio.link_adaptation import QAM64, QAM256
from simulations.running import run
from simulations.scenario import Scenario, TracedLink, Wavering
from simulations.scenario_file import parse_scenario
from simulations.traces import files
from simulations.traces.formats import read_link_trace
from simulations.traces.link_trace import LinkTrace
from simulations.traces.markov import MarkovModel
from simulations.traces.markov import fit as fitting
from tests.simulations.tiny import RADIO, WAVERING, tiny_yaml

BAND: dict[str, Any] = {"ghz": 3.5, "mhz": 40}
UCC_HEAD = "Timestamp,State,DL_bitrate,UL_bitrate\n"
GPU_HEAD = "model,hardware,prompt_size,batch_size,peak_power,average_power,prompt_time,token_time,tensor_parallel\n"
GPUS = {"file": "gpus.csv", "hardware": "a100-80gb", "model": "7b", "gpus": 2, "phase": "token", "size": 4}


def cells_of(*traces: dict[str, Any]) -> dict[str, Any]:
    """A cell for each trace, all linked to the edge site."""
    names = [f"mast{number}" for number in range(len(traces))]
    links = [{"between": [name, "mec"], "mbps": 1000, "rtt_ms": 1} for name in names]
    return {
        "cells": [{"name": name, "trace": trace} for name, trace in zip(names, traces, strict=True)],
        "links": [*links, {"between": ["mec", "cloud"], "mbps": 10000, "rtt_ms": 20}],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with a file of each kind."""
    rates = np.exp(np.random.default_rng(3).standard_normal(200))
    (tmp_path / "nyu.csv").write_text("".join(f"{20 * rate:.3f},Mbits/sec\n" for rate in rates))
    lines = (f"2020.01.16_09.{at // 60:02}.{at % 60:02},D,{9000 * rate:.0f},4\n" for at, rate in enumerate(rates))
    (tmp_path / "ucc.csv").write_text(UCC_HEAD + "".join(lines))
    (tmp_path / "sites.csv").write_text("SITE_ID,LATITUDE,LONGITUDE\n70,-37.81,144.97\n8,-37.80,144.97\n")
    runs = ("7b,a100-80gb,100,4,0.5,0.25,20,10,2\n", "7b,a100-80gb,100,8,0,0,30,11,2\n")
    (tmp_path / "gpus.csv").write_text(GPU_HEAD + "".join(runs))
    curve = {"SNR_db": [0, 2, 4], "CBS": {"1000": {"BLER": [1, 0.9, 0.001]}}}
    (tmp_path / "table1.json").write_text(json.dumps({"category": {"1": {"index": {"1": {"MCS": {"3": curve}}}}}}))
    return tmp_path


def read(folder: Path, **changed: Any) -> Scenario:
    return parse_scenario(tiny_yaml(**changed), where="file.yaml", folder=folder)


def refusal(folder: Path, **changed: Any) -> str:
    with pytest.raises(SpecError) as refused:
        read(folder, **changed)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def traced(folder: Path, *traces: dict[str, Any]) -> list[TracedLink]:
    return [cell.traced for cell in read(folder, **cells_of(*traces)).cells if cell.traced is not None]


def courses(scenario: Scenario, cell: int = 0, replication: int = 0) -> tuple[list[float], list[float]]:
    """Rates up and down as they are drawn for a replication."""
    up, down = build._traces(scenario.cells[cell], scenario.duration_s, Draws(scenario.seed, replication))
    return up.bits_per_s.tolist(), down.bits_per_s.tolist()


@pytest.mark.parametrize("key", ["file", "like"])
def test_a_ucc_file_alone_is_refused_with_the_way_out(folder: Path, key: str) -> None:
    said = refusal(folder, **cells_of({key: "ucc.csv"}))
    assert said.startswith(
        f"file.yaml: cells[0].trace.{key}: {folder / 'ucc.csv'}: is a trace of UCC, whose UL_bitrate"
    )
    assert said.endswith("say that beside it, as up: {mean_mbps: …}")
    assert refusal(folder, **cells_of({key: "ucc.csv", "down": WAVERING})) == said


def test_a_direction_that_is_given_takes_the_place_of_the_file_s(folder: Path) -> None:
    drawn = Wavering(mean_bits_per_s=20e6, variation=0.3, memory_s=2)
    ucc, nyu = traced(folder, {"file": "ucc.csv", "up": WAVERING}, {"file": "nyu.csv", "down": WAVERING})
    assert ucc.up == nyu.down == drawn
    assert isinstance(ucc.down, LinkTrace) and ucc.down.name == "ucc"
    assert isinstance(nyu.up, LinkTrace) and nyu.up.name == "nyu"


def test_a_trace_like_another_is_drawn_by_the_seed_anew_for_each_cell_and_replication(folder: Path) -> None:
    traces = cells_of({"like": "nyu.csv"}, {"like": "nyu.csv"})
    scenario, again = read(folder, **traces), read(folder, **traces)
    up, down = courses(scenario)
    assert up == down == courses(again)[0]
    others = (courses(scenario, cell=1), courses(scenario, replication=1), courses(read(folder, seed=9, **traces)))
    assert all(up != other for other, _ in others)


def test_a_ucc_file_gives_a_model_of_the_way_down(folder: Path) -> None:
    (link,) = traced(folder, {"like": "ucc.csv", "up": WAVERING})
    assert isinstance(link.up, Wavering)
    assert isinstance(link.down, MarkovModel) and link.down.name == "ucc"


def test_a_model_is_fitted_once_for_a_file_whoever_names_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[str] = []

    def fit(source: LinkTrace) -> MarkovModel:
        fitted.append(source.name)
        return model

    model = fitting(read_link_trace(folder / "nyu.csv").trace)
    monkeypatch.setattr(files, "fit", fit)
    first, second = traced(folder, {"like": "nyu.csv"}, {"like": "nyu.csv"})
    assert fitted == ["nyu"]
    assert first.up is first.down is second.up


def test_a_trace_like_another_runs_the_same_after_a_journey_to_another_process(folder: Path) -> None:
    scenario = read(folder, **cells_of({"like": "nyu.csv"}))
    here, there = (
        run(one, replications=1).outcomes[0].figures for one in (scenario, pickle.loads(pickle.dumps(scenario)))
    )
    assert here == there
    assert here["answered_per_s"] > 1


def test_what_is_drawn_unlike_its_source_is_said(folder: Path) -> None:
    steps = "".join(f"{1 + 50 * (at // 600 % 2)},Mbits/sec\n" for at in range(1800))
    (folder / "halves.csv").write_text(steps)
    assert read(folder, **cells_of({"like": "nyu.csv"})).remarks == ()
    (remark,) = read(folder, **cells_of({"like": "halves.csv"})).remarks
    assert remark.startswith("cells[0].trace.like: halves.csv: what is drawn is not much like it: ")


def test_a_source_too_short_for_a_model_is_named(folder: Path) -> None:
    (folder / "short.csv").write_text("5,Mbits/sec\n" * 9)
    said = refusal(folder, **cells_of({"like": "short.csv"}))
    assert said == "file.yaml: cells[0].trace.like: trace short: 9 steps of 1 s; a model needs 50 or more"


def test_a_cell_stands_at_its_site(folder: Path) -> None:
    at = {"places": {"file": "sites.csv", "origin": [-37.81, 144.97]}}
    (cell,) = read(folder, cells=[RADIO | {"site": 8}], users=near(0, 1112), **at).cells
    assert cell.station is not None
    assert cell.at_m == (cell.station.east_m, cell.station.north_m)
    assert cell.at_m == pytest.approx((0, 1111.95), abs=0.01)
    (middle,) = read(folder, cells=[RADIO | {"site": "8"}], users=near(0, 556), places={"file": "sites.csv"}).cells
    assert middle.at_m == pytest.approx((0, 555.97), abs=0.01)


def near(east_m: float, north_m: float) -> list[dict[str, Any]]:
    """The first group, standing about that place."""
    area_m = [east_m - 50, north_m - 50, east_m + 50, north_m + 50]
    return [tiny_yaml()["users"][0] | {"moving": {"area_m": area_m}}]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"cells": [RADIO | {"site": 71}]}, "cells[0].site: no place '71'; there are 2, such as 70"),
        ({"cells": [RADIO | {"site": 8, "at_m": [1, 1]}]}, "cells[0].at_m: the cell stands at its site"),
        ({"cells": [RADIO | {"site": 1.5}]}, "cells[0].site: should be a valid string, is 1.5"),
        ({"places": {"file": "no.csv"}}, "places: {folder}/no.csv: No such file or directory; give"),
        ({"places": {"file": "sites.csv", "origin": [0, 0]}}, "places: {folder}/sites.csv, line 2: "),
    ],
)
def test_a_site_that_is_none_is_named(folder: Path, changed: dict[str, Any], said: str) -> None:
    at = {"places": {"file": "sites.csv"}, "cells": [RADIO | {"site": 8}]}
    assert refusal(folder, **at | changed).startswith("file.yaml: " + said.replace("{folder}", str(folder)))


def nodes(power: dict[str, Any], idle_w: float = 60) -> list[dict[str, Any]]:
    """Those of tiny.py, the edge site with GPUs."""
    phone, mec, cloud = tiny_yaml()["nodes"]
    del mec["active_w"]
    return [phone, mec | {"idle_w": idle_w, "power": power}, cloud]


def test_a_node_draws_what_was_measured_of_its_gpus(folder: Path) -> None:
    _, mec, _ = read(folder, nodes=nodes(GPUS)).machines
    assert mec.node.idle_w == 60
    assert mec.node.active_w == pytest.approx(2 * 0.25 * 400)
    _, other, _ = read(folder, nodes=nodes(GPUS | {"tdp_w": {"a100-80gb": 300}})).machines
    assert other.node.active_w == pytest.approx(2 * 0.25 * 300)


@pytest.mark.parametrize(
    ("changed", "idle_w", "said"),
    [
        ({"gpus": 4}, 60, "7b on 4 × a100-80gb (token phase) was not measured; there are 7b on 2 × a100-80gb"),
        ({"size": 9}, 60, "7b on 2 × a100-80gb (token phase): 9 sequences; measured from 4 to 8"),
        ({"size": 8}, 60, "nobody measured watts there; give active_w in its place"),
        ({}, 250, "200 W, less than idle_w, 250 W"),
    ],
)
def test_what_was_not_measured_of_gpus_is_refused(
    folder: Path, changed: dict[str, Any], idle_w: float, said: str
) -> None:
    assert refusal(folder, nodes=nodes(GPUS | changed, idle_w)).startswith(f"file.yaml: nodes[1].power: {said}")


def test_block_errors_of_a_file_take_the_place_of_those_built_in(folder: Path) -> None:
    band = BAND | {"block_errors": {"up": "table1.json"}}
    (cell,) = read(folder, cells=[RADIO | {"band": band}]).cells
    assert cell.station is not None
    assert cell.station.down_schemes is QAM256
    assert 2 < cell.station.up_schemes.snr_db[3] < 4 != QAM64.snr_db[3]
    assert np.delete(cell.station.up_schemes.snr_db, 3).tolist() == np.delete(QAM64.snr_db, 3).tolist()


def test_what_is_no_table_of_block_errors_is_named(folder: Path) -> None:
    band = BAND | {"block_errors": {"down": "nyu.csv"}}
    said = refusal(folder, cells=[RADIO | {"band": band}])
    assert said.startswith(f"file.yaml: cells[0].band.block_errors.down: {folder / 'nyu.csv'}: ")
