"""As published: makes a flask application of its own and asks it in process."""

import json

from flask import Flask, jsonify, request

app = Flask(__name__)


@app.route("/double", methods=["POST"])
def double():
    """Double a number."""
    return jsonify(result=request.get_json()["value"] * 2)


def init():
    """Start a client of the application."""
    global client
    client = app.test_client()


def run(raw_data):
    """Pass on to the application."""
    answer = client.post("/double", json=json.loads(raw_data))
    return {"status": answer.status_code, "answer": answer.get_json()}
