"""Forms of a float32 model made once and measured: narrower floats, 8-bit integers, weights alone in 8 or 4 bits.

Controller only: makers import onnx and ONNX Runtime. No worker needs this; it runs what comes out of it.
"""
