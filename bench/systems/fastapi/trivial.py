"""The trivial work."""

from typing import Any

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def health() -> str:
    """Answer a probe."""
    return "Healthy"


@app.post("/score")
def score(body: dict[str, Any]) -> dict[str, int]:
    """Answer the same always; a plain function, as its documents advise for code that blocks: it runs in a thread."""
    return {"ok": 1}
