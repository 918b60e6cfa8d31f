import pytest

from tests.benchmarks.quick import figures


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_tuning_compares_every_tuner_after_equal_trials() -> None:
    pytest.importorskip("optuna")
    found = {name: figure["value"] for name, figure in figures("tuning").items()}
    for backend in ("onnxruntime", "openvino"):
        for tuner in ("learned", "optuna", "random"):
            after = [found[f"{backend}: {tuner} after {count} trials"] for count in (2, 4, 6, 10)]
            assert after == sorted(after, reverse=True) and after[-1] >= 0
            assert after[0] <= found[f"{backend}: the default, above the best setting"]
        assert found[f"{backend}: efficientnet_lite0, the batch chosen"] in (1, 2, 4, 8)
    assert found.get("tvm: learned after 10 s, of the untuned model", 100) > 0
