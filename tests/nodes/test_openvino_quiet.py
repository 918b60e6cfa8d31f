"""OpenVINO calls home at import from a forked process, whose end by SIGTERM would stop the worker that forked it."""

import subprocess
import sys

import pytest

pytest.importorskip("openvino")

LOADED = (
    "import sys; from nodes.backend import load_backend; load_backend('openvino').capabilities(); "
    "print([name for name, module in sys.modules.items() if 'openvino_telemetry' in name and module is not None])"
)


@pytest.mark.slow
def test_openvino_is_used_without_its_telemetry() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
