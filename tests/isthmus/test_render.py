"""What people see in a terminal says what the values say."""

from dataclasses import replace
from io import StringIO

from rich.console import Console, RenderableType

from isthmus.render import hops_table, milliseconds, plan_picture, status_table, unsplit_table
from nodes.framing import HopTiming
from tests.builders import plan_on


def shown(renderable: RenderableType) -> str:
    out = StringIO()
    Console(file=out, width=120).print(renderable)
    return out.getvalue()


def test_a_plan_shows_its_stages_in_order_and_the_bytes_between() -> None:
    text = shown(plan_picture(plan_on("camera", "cloud", codec="fp16")))
    assert text.index("camera · onnxruntime float32") < text.index("camera → cloud: 1,000 bytes fp16 (t)")
    assert text.index("camera → cloud") < text.index("cloud · onnxruntime float32") < text.index("cloud → camera")
    assert "the first half is cheaper than sending the image" in text


def test_a_gap_is_shown_where_there_is_one() -> None:
    plan = plan_on("camera")
    assert plan.certificate is not None
    loose = replace(plan, certificate=replace(plan.certificate, gap=0.05))
    assert "within 5.0%" in shown(plan_picture(loose))
    assert "within" not in shown(plan_picture(plan))


def test_what_does_not_fit_on_one_node_is_a_dash() -> None:
    lines = shown(unsplit_table(plan_on("camera", "cloud"))).splitlines()
    assert any("all on camera" in line and "400.0 ms" in line for line in lines)
    assert any("all on cloud" in line and "–" in line for line in lines)
    assert milliseconds(None) == "–"


def test_a_status_without_deployments_says_so() -> None:
    assert "nothing is deployed" in shown(status_table({"deployments": {}, "workers": {}, "links": []}))


def test_a_status_shows_links_as_people_write_them() -> None:
    link = {"from": "camera", "to": "cloud", "bytes_per_s": 12.5e6, "propagation_s": 0.004}
    text = shown(status_table({"deployments": {}, "workers": {}, "links": [link]}))
    assert "camera → cloud" in text and "100.0 Mbps" in text and "8.0 ms" in text


def test_a_status_tells_which_code_each_worker_and_the_controller_are() -> None:
    worker = {"address": "127.0.0.1:7070", "pid": 42, "code": "0.1.0+wire2", "engines": {}}
    about = {"workers": {"camera": worker}, "controller": {"code": "0.0.9+wire1", "pid": 7}}
    lines = shown(status_table({"deployments": {}, "links": [], **about})).splitlines()
    assert any("camera" in line and "0.1.0+wire2" in line for line in lines)
    assert any("controller" in line and "0.0.9+wire1" in line for line in lines)


def test_a_trace_tells_which_code_ran_each_hop() -> None:
    (crossing, *_) = plan_on("camera", "cloud").crossings
    table = hops_table([HopTiming("s0", 0.001, 0.0, 0.002, 0.0, "0.1.0+wire2")], [(crossing, 0.004)])
    assert any("s0" in line and "0.1.0+wire2" in line for line in shown(table).splitlines())
