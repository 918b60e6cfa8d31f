import pytest

from tests.benchmarks.quick import figures


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_int8_tells_speed_and_labels_beside_their_targets() -> None:
    found = figures("int8")
    targets = {name: figure["target"] for name, figure in found.items() if figure["target"] is not None}
    (certain,) = (name for name in targets if "certain crops" in name)
    assert targets.pop(certain) == 0.99
    assert found[certain]["holds"]
    assert targets == {
        "efficientnet_lite0: speed over float32": 1.8,
        "minilm: speed over float32": 1.5,
        "minilm: mean cosine": 0.99,
    }
    assert found["minilm: mean cosine"]["holds"]
