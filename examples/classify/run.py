"""Splits an image classifier over three emulated machines and asks it about a photograph."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from isthmus import Client, zoo
from isthmus.zoo.photos import labels, photo

here = Path(__file__).parent
shutil.copy(zoo.build("efficientnet_lite0_frame"), here / "classifier.onnx")
(here / "photo.jpg").write_bytes(photo("coffee"))
frame = np.array(Image.open(here / "photo.jpg").resize((224, 224)))
with Client() as client:
    client.deploy(here / "spec.yaml")
    print(client.plan("classify").reason)
    logits = client.infer("classify", {"frame": frame})["logits"]
print("it is:", labels()[int(logits.argmax())])
