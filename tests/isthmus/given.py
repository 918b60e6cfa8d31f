"""Models, topologies and specs as files, sound unless a test asks otherwise."""

from pathlib import Path
from typing import Any

import onnx
import yaml

from tests.nodes.onnx_models import dense

CAMERA = {"name": "camera", "tier": "device", "backends": ["onnxruntime"]}
CLOUD = {"name": "cloud", "tier": "cloud", "backends": ["onnxruntime"]}
UPLINK = {"from": "camera", "to": "cloud", "goodput_mbps": 100, "rtt_ms": 8}


def model_file(folder: Path, model: onnx.ModelProto | None = None) -> Path:
    """A model's file: x [1, 8] float32 → y, hidden [1, 4] unless another is given."""
    path = folder / "model.onnx"
    onnx.save(model or dense(), path)
    return path


def topology_file(folder: Path, *, nodes: list[Any] | None = None, links: list[Any] | None = None) -> Path:
    """A topology's file: camera and cloud with one link unless others are given."""
    path = folder / "topology.yaml"
    held = {"nodes": [CAMERA, CLOUD] if nodes is None else nodes, "links": [UPLINK] if links is None else links}
    path.write_text(yaml.safe_dump(held))
    return path


def spec_file(folder: Path, model_path: Path, topology_path: Path, **changed: Any) -> Path:
    """A spec's file that deploys the model with its input x at the camera; `changed` replaces or adds keys."""
    path = folder / "spec.yaml"
    paths = {"model": str(model_path), "topology": str(topology_path)}
    held: dict[str, Any] = {"name": "classify", **paths, "inputs": {"x": {"at": "camera"}}}
    path.write_text(yaml.safe_dump(held | changed))
    return path
