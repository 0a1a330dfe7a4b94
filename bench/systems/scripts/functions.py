"""What the models of the works do, for all systems alike; none of it knows of a server."""

import os
from pathlib import Path
from typing import Any

CHUNKS = 100


def load_forest() -> Any:
    """Load the random forest."""
    import joblib

    return joblib.load(Path(os.environ["BENCH_MODELS"]) / "forest.joblib")


def load_network() -> Any:
    """Load the ONNX model, with one thread: its graph is too small for more."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(Path(os.environ["BENCH_MODELS"]) / "network.onnx", options)


def classes(network: Any, rows: Any) -> list[int]:
    """Return the class of each row."""
    (shares,) = network.run(None, {"rows": rows.astype("float32")})
    return shares.argmax(axis=1).tolist()


def size_of(image: bytes) -> dict[str, int]:
    """Return the size of a PNG, which its header tells, and that of the file."""
    width, height = (int.from_bytes(image[start : start + 4], "big") for start in (16, 20))
    return {"width": width, "height": height, "bytes": len(image)}


def chunk(number: int) -> bytes:
    """Return one of the chunks of a stream, about 130 bytes."""
    return b"chunk%02d " % number * 16 + b"\n"
