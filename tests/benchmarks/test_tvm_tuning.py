import pytest

from tests.benchmarks.quick import figures


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_seconds_of_tuning_are_told_beside_their_targets() -> None:
    pytest.importorskip("tvm")
    found = figures("tvm_tuning")
    name = "efficientnet_lite0"
    targets = {key: figure["target"] for key, figure in found.items() if figure["target"] is not None}
    assert targets == {
        f"{name}: tuned over TVM as it comes": 6.0,
        f"{name}: tuned against ONNX Runtime": 5.0,
        f"{name}: difference to ONNX Runtime": 1e-4,
        f"{name}: seconds of tuning": 120.0,
    }
    assert found[f"{name}: difference to ONNX Runtime"]["holds"]
    assert found[f"{name}: tuned over TVM as it comes"]["holds"]
