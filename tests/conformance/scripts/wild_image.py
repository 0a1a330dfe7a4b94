"""As published: an uploaded image, opened with Pillow, its size as JSON or the turned image itself."""

import io
import json

from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse
from PIL import Image


def init():
    """Nothing to load."""


def describe(image):
    """Size and first pixel of an image."""
    return {"size": image.size, "mode": image.mode, "pixel": image.convert("RGB").getpixel((0, 0))}


@rawhttp
def run(request: AMLRequest):
    """Take an image from a form or from the body."""
    if request.method == "GET":
        return AMLResponse(str.encode(request.full_path), 200)
    if request.method != "POST":
        return AMLResponse("bad request, use POST", 500)
    if "image" in request.files:
        return AMLResponse(describe(Image.open(request.files["image"])), 200, json_str=True)
    if request.files.getlist("file[]"):
        names = [file.filename for file in request.files.getlist("file[]")]
        sizes = [len(file.read()) for file in request.files.getlist("file[]")]
        return AMLResponse(json.dumps({"names": names, "sizes": sizes}), 200, {"Content-Type": "application/json"})
    if request.files:
        return {
            name: [file.filename, file.content_type, file.stream.seekable()] for name, file in request.files.items()
        }
    image = Image.open(io.BytesIO(request.get_data(False)))
    if "turn" not in request.args:
        return AMLResponse(describe(image), 200, json_str=True)
    buffer = io.BytesIO()
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(buffer, format="PNG")
    response = AMLResponse(buffer.getvalue(), 200)
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.mimetype = "image/png"
    return response
