"""The trivial work."""

import sys
from typing import Any

import litserve


class Trivial(litserve.LitAPI):
    """The function, in a process of its own."""

    def setup(self, device: str) -> None:
        """Load nothing."""

    def predict(self, request: Any) -> dict[str, int]:
        """Answer the same always."""
        return {"ok": 1}


if __name__ == "__main__":
    # Its documents, LitServer: accelerator is "auto" by default, workers_per_device 1.
    litserve.LitServer(Trivial()).run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
