"""Classify one picture with an exported model.onnx: python classify.py model.onnx photo.jpg

Needs numpy, onnxruntime and pillow, and nothing of FairQuant. Pictures with 8 bits per colour. Not a diagnosis.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

if len(sys.argv) != 3:
    sys.exit(__doc__)
model, picture = sys.argv[1:]
options = onnxruntime.SessionOptions()
# Without this some processors cut off the fast file's sums.
options.add_session_config_entry("session.x64quantprecision", "1")
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["fairquant"])
how = about["preprocessing"]
size, shorter = how["size"], max(how["size"], round(how["size"] / how["crop_fraction"]))

image = Image.open(picture)
if image.format == "JPEG":  # large photos are decoded smaller, as in the audit
    image.draft(None, (2 * shorter, 2 * shorter))
image = ImageOps.exif_transpose(image).convert("RGBA")
image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
scale = shorter / min(image.size)
width, height = (max(size, round(side * scale)) for side in image.size)
image = image.resize((width, height), Image.Resampling[how["interpolation"].upper()])
left, top = (width - size) // 2, (height - size) // 2
pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32)

mean, std = (255 * np.array(how[name], dtype=np.float32) for name in ("mean", "std"))
values = ((pixels - mean) * (1 / std)).transpose(2, 0, 1)[None]
(logits,) = session.run([about["output"]], {about["input"]: values})[0]
shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for share, name in sorted(zip(shares, about["classes"], strict=True), reverse=True):
    print(f"{share:8.4%}  {name}")
