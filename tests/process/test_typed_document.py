"""A served typed script does what its document says, as schemathesis finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.conftest import SharedServer

# Each operation gets so many requests; scripts/fuzz asks for more.
EXAMPLES = int(os.environ.get("AZMLINFSRV_FUZZ_EXAMPLES", "25"))
pytestmark = [pytest.mark.process, pytest.mark.timeout(max(180, EXAMPLES))]


def test_schemathesis_finds_nothing(shared_server: SharedServer, tmp_path: Path) -> None:
    """No server error, no undocumented status or content type, and what is refused is what the schema forbids.

    The endpoint in front of the server checks the key, and the server does not: so the document that is tested has
    no security. GET with a query reaches every `run()` and is documented for none, as in the released server, so the
    check of methods that are not documented is left out; all others run.
    """
    server = shared_server("typed.py")
    document = server.client.get("/swagger.json").json()
    del document["paths"]["/score"]["post"]["security"], document["components"]["securitySchemes"]
    (tmp_path / "openapi.json").write_text(json.dumps(document), "utf-8")
    options = ["--max-examples", str(EXAMPLES), "--seed", "1", "--no-color", "--continue-on-failure", "--workers", "1"]
    options += ["--exclude-checks", "unsupported_method"]
    program = Path(sys.executable).with_name("schemathesis")
    result = subprocess.run(
        [program, "run", tmp_path / "openapi.json", "--url", server.url, *options],
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert "Tested: 5" in result.stdout
