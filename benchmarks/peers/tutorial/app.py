"""What FastAPI and torch tutorials end up with: an uploaded file, Pillow, torchvision's transforms, eager torch."""

import io

import torch
from fastapi import FastAPI, UploadFile
from PIL import Image

from benchmarks.peers.textbook import TRANSFORM, Textbook

app = FastAPI()
model = Textbook().eval()


@app.post("/predict")
async def predict(file: UploadFile) -> dict[str, object]:
    image = Image.open(io.BytesIO(await file.read()))
    with torch.no_grad():
        probabilities = model(TRANSFORM(image).unsqueeze(0)).softmax(dim=1)[0]
    digit = int(probabilities.argmax())
    return {"digit": digit, "confidence": float(probabilities[digit]), "probabilities": probabilities.tolist()}
