"""The trivial work."""

from typing import Any

from mosec import Server, Worker


class Trivial(Worker):
    """The function, in a process of its own."""

    def forward(self, data: Any) -> dict[str, int]:
        """Answer the same always."""
        return {"ok": 1}


if __name__ == "__main__":
    server = Server()
    server.append_worker(Trivial, num=1)
    server.run()
