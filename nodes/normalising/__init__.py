"""The steps of normalise.py, one a file. They import onnx, so a worker loads none of them."""
