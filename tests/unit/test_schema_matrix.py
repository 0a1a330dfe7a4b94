"""The conformance suite's matrix of decorated scripts, in memory: their documents are valid, their requests tell.

That documents and answers are the released server's is what the conformance suite checks. Here no server starts.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

from azmlinfsrv import codec
from azmlinfsrv.identity import RequestIds
from azmlinfsrv.inputs import input_parser
from azmlinfsrv.schema import Swagger
from azmlinfsrv.scorer import Scorer
from azmlinfsrv.script import Script
from azmlinfsrv.settings import Settings
from tests.conformance.cases import Request, ServerBlock, load_blocks
from tests.unit.http_fakes import request as made

GROUP = "swagger_matrix/"
AT_LEAST = 40
VALIDATORS = {"2": OpenAPIV2SpecValidator, "3": OpenAPIV30SpecValidator, "3.1": OpenAPIV31SpecValidator}
BLOCKS = {
    block.id.removeprefix(GROUP): block
    for block in load_blocks()
    if block.id.startswith(GROUP) and block.ends == "ready"
}
SCORED = [
    (name, request)
    for name, block in BLOCKS.items()
    for request in block.requests
    if not request.path.startswith("/swagger.json")
]

# inference-schema describes these so, and the released server sends it as it is: ours has to be equal.
_NOTHING_REQUIRED = 'an object without keys has "required": [], which needs an item before version 3.1'
_NUMBER_REQUIRED = 'keys that are numbers stand in "required" as numbers'
INVALID = {
    ("dict-empty", "2"): _NOTHING_REQUIRED,
    ("dict-empty", "3"): _NOTHING_REQUIRED,
    ("list-of-objects", "2"): _NOTHING_REQUIRED,
    ("list-of-objects", "3"): _NOTHING_REQUIRED,
    ("pandas-empty", "2"): _NOTHING_REQUIRED,
    ("pandas-empty", "3"): _NOTHING_REQUIRED,
    ("pandas-objects", "2"): _NOTHING_REQUIRED,
    ("pandas-objects", "3"): _NOTHING_REQUIRED,
    ("dict-odd-keys", "2"): _NUMBER_REQUIRED,
    ("dict-odd-keys", "3"): _NUMBER_REQUIRED,
    ("dict-odd-keys", "3.1"): _NUMBER_REQUIRED,
}


def loaded(block: ServerBlock, folder: Path) -> Script:
    """Return a block's script; inference-schema knows its functions by the module's name."""
    path = folder / str(block.script)
    path.write_bytes(block.files[f"app/{block.script}"])
    spec = importlib.util.spec_from_file_location(f"{block.id} {folder.name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the matrix has deprecated options too
        spec.loader.exec_module(module)
    return Script(module)


def call(function: Any, arguments: dict[str, Any]) -> Any:
    """Call as the deadline does, without one; warnings of conversions are not the server's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(**arguments)


def status_of(script: Script, case: Request) -> int:
    """Return the status of the answer to a request of the suite."""
    request = made(case.method, case.path, case.body or b"", content_type="application/json")
    request.ids = RequestIds("id", "id", "")
    parse = input_parser(script, lambda _: None)
    return Scorer(script, parse, None).score(request, call).status


def test_there_are_enough_scripts() -> None:
    """The matrix has at least as many scripts as were asked for."""
    assert len(BLOCKS) >= AT_LEAST


@pytest.mark.parametrize("name", BLOCKS)
def test_documents_are_valid(name: str, tmp_path: Path) -> None:
    """Each document, as it is sent, follows the specification of its version, but for those that are listed."""
    swagger = Swagger(Settings(app_root=str(tmp_path)), loaded(BLOCKS[name], tmp_path).run)
    for version in swagger.versions:
        document = json.loads(codec.dumps(swagger.document(version)))
        errors = [error.message for error in VALIDATORS[version](document).iter_errors()]
        assert bool(errors) is ((name, version) in INVALID), f"{version}: {errors[:1]}"


@pytest.mark.parametrize(("name", "case"), SCORED, ids=lambda value: getattr(value, "id", value))
def test_requests_do_what_they_are_called(name: str, case: Request, tmp_path: Path) -> None:
    """A request that is good by its name is answered, a bad one is refused: neither tests less than it says."""
    refused = case.id.startswith(("bad", "refused", "missing", "unknown"))
    assert status_of(loaded(BLOCKS[name], tmp_path), case) == (400 if refused else 200)


@pytest.mark.parametrize("name", BLOCKS)
def test_every_script_has_a_bad_request(name: str) -> None:
    """Each script is asked with input that does not fit, and with input that does where there is any."""
    ids = {request.id for request in BLOCKS[name].requests}
    assert "bad" in ids and ids & {"good", "refused"}
