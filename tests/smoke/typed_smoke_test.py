"""Check an installed server with a typed script: its answers, its errors and its description.

Run it as a module, `python -m tests.smoke.typed_smoke_test`, with the Python of the environment to check, which holds
pydantic, NumPy and pandas besides the server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.smoke.smoke_test import expect, send, served, stop, wait_ready

SCRIPT = Path(__file__).parent / "scripts" / "typed_score.py"

GOOD: dict[str, Any] = {
    "passengers": [{"name": "Ada", "age": 36}, {"name": "Bob", "port": "C"}],
    "cabin": {"deck": "A"},
    "ticket": {"price": "7.5"},
    "weights": [[0.5, 1], [1.5, 2]],
    "table": [{"a": None, "b": 1}, {"a": 2, "b": 3}],
}
ANSWER = {
    "passengers": [{"name": "Ada", "age": 36.0, "port": "S"}, {"name": "Bob", "age": None, "port": "C"}],
    "deck": "A",
    "ticket": {"price": 7.5},
    "total": 5.0,
    "columns": {"a": "float64", "b": "int64"},
    "note": None,
}
BAD: dict[str, Any] = {
    "passengers": [{"name": "Ada", "age": -1, "port": "X"}],
    "cabin": {"deck": "C", "berths": ["x"]},
    "ticket": {},
    "weights": [[0.5]],
    "table": {"a": [1.5], "b": [0.5]},
    "note": 5,
}
ERRORS = {
    ("passengers[0].age", "integer"),
    ("passengers[0].port", "string"),
    ("cabin.deck", "string"),
    ("cabin.berths[0]", "string"),
    ("ticket.price", "nothing"),
    ("weights", "array"),
    ("table", "object"),
    ("note", "integer"),
}


def score(port: int, body: object) -> tuple[int, Any]:
    """Return the status and the value of the answer to an input."""
    status, answer = send(port, "POST", "/score", json.dumps(body))
    return status, json.loads(answer)


def check_errors(port: int) -> None:
    """Every error of an input is told with its place and what was received."""
    status, answer = score(port, BAD)
    expect("errors", (status, {(each["path"], each["received"]) for each in answer["errors"]}), (400, ERRORS))
    expect("each error has a reason", all(each["reason"] for each in answer["errors"]), True)
    status, answer = score(port, {"passengers": []})
    expect("missing", (status, sorted(each["path"] for each in answer["errors"])), (400, sorted([*GOOD][1:])))


def check_description(port: int) -> None:
    """There is one document, 3.1, which describes each parameter and the result."""
    status, text = send(port, "GET", "/swagger.json")
    document = json.loads(text)
    expect("GET /swagger.json", (status, document["openapi"]), (200, "3.1.0"))
    expect("GET /swagger.json?version=2", send(port, "GET", "/swagger.json?version=2")[0], 404)
    schemas = document["components"]["schemas"]
    given = schemas["ServiceInput"]["properties"]
    expect("parameters", [list(given), schemas["ServiceInput"]["required"]], [[*GOOD, "note"], [*GOOD]])
    expect(
        "optional", [given["note"]["anyOf"], given["note"]["default"]], [[{"type": "string"}, {"type": "null"}], None]
    )
    expect("model", given["passengers"]["items"], {"$ref": "#/components/schemas/Passenger"})
    expect("age", schemas["Passenger"]["properties"]["age"]["anyOf"][0], {"type": "number", "minimum": 0})
    expect("enumeration", schemas["Port"]["enum"], ["S", "C"])
    expect(
        "dataclass",
        [schemas["Cabin"]["properties"]["deck"]["enum"], schemas["Cabin"]["required"]],
        [["A", "B"], ["deck"]],
    )
    expect(
        "TypedDict",
        [list(schemas["Ticket"]["properties"]), schemas["Ticket"]["required"]],
        [["price", "currency"], ["price"]],
    )
    expect("array", given["weights"]["items"]["minItems"], 2)
    expect("frame", given["table"]["anyOf"][0]["items"]["required"], ["a", "b"])
    expect("result", schemas["ServiceOutput"]["anyOf"], [{"$ref": "#/components/schemas/Summary"}, {"type": "null"}])
    body = document["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]
    expect("the example is accepted", score(port, body["example"])[0], 200)


def main() -> None:
    """Serve the typed script with the command of this environment, and check it."""
    with served(SCRIPT.read_text("utf-8")) as (server, port):
        wait_ready(server, port)
        expect("answer", score(port, GOOD), (200, ANSWER))
        expect("null", score(port, {**GOOD, "passengers": []}), (200, None))
        check_errors(port)
        check_description(port)
        stop(server)


if __name__ == "__main__":
    main()
