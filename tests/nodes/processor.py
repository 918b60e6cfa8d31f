"""Whose processor runs the tests: some engines drive one maker's only."""

import onnxruntime

INTEL = 0x8086  # as PCI numbers makers


def by_intel() -> bool:
    """As ONNX Runtime, whose OpenVINO plugin goes by it, has it."""
    return any(device.device.vendor_id == INTEL for device in onnxruntime.get_ep_devices())
