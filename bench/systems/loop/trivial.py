"""The function called in a loop, with what it is given parsed and its result encoded: no server at all.

Usage: python trivial.py SECONDS; prints the calls a second.
"""

import json
import sys
import time
from typing import Any

BODY = b'{"data":[1,2,3]}'


def run(data: Any) -> dict[str, int]:
    """Answer the same always."""
    return {"ok": 1}


def main() -> None:
    """Count."""
    begun = time.perf_counter()
    end, calls = begun + float(sys.argv[1]), 0
    while (now := time.perf_counter()) < end:
        for _ in range(1000):
            json.dumps(run(json.loads(BODY))).encode()
        calls += 1000
    print(calls / (now - begun))


if __name__ == "__main__":
    main()
