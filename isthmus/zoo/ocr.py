"""PP-OCR's text detector, orientation classifier and reader (Apache-2.0, PaddleOCR), in ONNX as rapidocr ships them."""

from pathlib import Path

from isthmus.zoo.packages import file_in

DETECT_SHAPE = (1, 3, 320, 320)  # any multiples of 32; small, so that a test and a demo stay quick
ORIENT_SHAPE = (1, 3, 48, 192)  # one line of text, shrunk to fit and padded with 0 on the right
READ_SHAPE = (1, 3, 48, 320)  # one line of text, 48 pixels high


def detect() -> Path:
    """float32 `x` [1, 3, H, W] → a probability of text for each pixel [1, 1, H, W]."""
    return file_in("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx")


def orient() -> Path:
    """float32 `x` [N, 3, 48, 192] in -1 to 1 → probabilities of 0° and of 180° [N, 2] (PP-OCR mobile 2.0)."""
    return file_in("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx")


def reader() -> Path:
    """float32 `x` [1, 3, 48, W] → probabilities of 6,625 characters at W / 8 places [1, W / 8, 6625]."""
    return file_in("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx")
