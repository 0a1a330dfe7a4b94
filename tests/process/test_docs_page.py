"""The page `/docs`, driven in Chromium."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tests.conftest import RequireProgram, StartServer
from tests.process.conftest import SharedServer
from tests.servers import RunningServer

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WRONG = '{"passengers": [{"name": "Ada", "age": -1}, {"age": "old"}]}'


@pytest.fixture(scope="module")
def browser(require_program: RequireProgram) -> Iterator[Browser]:
    """A browser that the tests of the module share."""
    path = require_program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A page, and what went on in it.

    Attributes:
        page: the page.
        messages: errors and warnings of the console, and exceptions.
        hosts: hosts that were asked.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.messages: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda message: self.messages.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.partition("://")[2].partition("/")[0]))

    def load(self, url: str) -> None:
        """Open the page and wait for its sample."""
        self.page.goto(url)
        # Not `wait_for_function`, which needs eval() where the condition does not hold at once: the page forbids it.
        expect(self.page.locator("#title")).not_to_have_text("API", timeout=30_000)

    def text(self, selector: str) -> str:
        """Return what an element shows."""
        return self.page.inner_text(selector)


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """A function that opens a page; it may ask no other host and have no message on its console."""
    visits: list[Visit] = []

    def open_page(url: str, width: int = 1100, dark: bool = False) -> Visit:
        size = ViewportSize(width=width, height=700)
        context = browser.new_context(viewport=size, color_scheme="dark" if dark else "light")
        visits.append(Visit(context.new_page()))
        visits[-1].load(url)
        return visits[-1]

    yield open_page
    for each in visits:
        each.page.context.close()
        assert {host.partition(":")[0] for host in each.hosts} <= {"127.0.0.1", ""}
        unexpected = [message for message in each.messages if "status of 400" not in message]
        assert unexpected == []


@pytest.fixture
def typed(shared_server: SharedServer) -> RunningServer:
    """The server of a typed script."""
    return shared_server("typed.py")


def test_the_sample_is_filled_in(typed: RunningServer, visit: Open) -> None:
    """The page shows name, description and schema, and has the sample in its body."""
    found = visit(f"{typed.url}/docs")
    assert '"Ada Lovelace"' in found.page.input_value("#body")
    assert "Predict who survives." in found.text("#description")
    assert found.text("#documents") == "3.1"
    found.page.click("text=Input")
    assert "Whole name." in found.text("#input-schema")


def test_send_by_click(typed: RunningServer, visit: Open) -> None:
    """Send shows status, time, headers and the answer."""
    found = visit(f"{typed.url}/docs")
    found.page.click("#send")
    found.page.wait_for_selector("#status.good")
    status = found.text("#status")
    assert status.startswith("200 OK") and status.endswith(" ms")
    assert '"name": "Ada Lovelace"' in found.text("#answer")
    found.page.click("#headers-box summary")
    assert "x-ms-request-id" in found.text("#headers")


def test_by_keyboard_only(typed: RunningServer, visit: Open) -> None:
    """Tab reaches the body and every button; Ctrl+Enter and Enter on Send send."""
    found = visit(f"{typed.url}/docs")
    reached = []
    for _ in range(12):
        found.page.keyboard.press("Tab")
        reached.append(found.page.evaluate("document.activeElement.id"))
        if reached[-1] == "body":
            found.page.keyboard.press("Control+Enter")
            found.page.wait_for_selector("#status.good")
        if reached[-1] == "send":
            found.page.evaluate("document.getElementById('status').className = ''")
            found.page.keyboard.press("Enter")
            found.page.wait_for_selector("#status.good")
            assert found.page.evaluate("document.activeElement.id") == "send"
    order = [each for each in reached if each in ("body", "send", "sample", "format", "answer")]
    assert order[:5] == ["body", "send", "sample", "format", "answer"], reached


def test_an_error_is_readable(typed: RunningServer, visit: Open) -> None:
    """An input that does not fit shows 400 and each error in words, and the sample brings it back."""
    found = visit(f"{typed.url}/docs")
    found.page.fill("#body", WRONG)
    found.page.click("#send")
    found.page.wait_for_selector("#status.bad")
    assert found.text("#status").startswith("400 BAD REQUEST")
    items = found.page.locator("#errors li").all_inner_texts()
    assert len(items) == 3
    assert items[0].split("\n") == [
        "passengers[0].age",
        "Input should be greater than or equal to 0; received integer.",
    ]
    assert "nothing" in items[1]
    found.page.click("#sample")
    assert '"Ada Lovelace"' in found.page.input_value("#body")
    found.page.click("#send")
    found.page.wait_for_selector("#status.good")
    assert found.page.locator("#errors li").count() == 0


def test_format(typed: RunningServer, visit: Open) -> None:
    """Format indents JSON, and says where a text is none."""
    found = visit(f"{typed.url}/docs")
    found.page.fill("#body", '{"a":[1]}')
    found.page.click("#format")
    assert found.page.input_value("#body") == '{\n  "a": [\n    1\n  ]\n}'
    found.page.fill("#body", "{")
    found.page.click("#format")
    assert "not JSON" in found.text("#status")


@pytest.mark.parametrize("dark", [False, True])
def test_phone_width(typed: RunningServer, visit: Open, dark: bool) -> None:
    """At 375 pixels nothing scrolls sideways, in each state."""
    found = visit(f"{typed.url}/docs", 375, dark)
    for body in (None, WRONG):
        if body:
            found.page.fill("#body", body)
        found.page.click("#send")
        found.page.wait_for_selector("#status.bad" if body else "#status.good")
        assert found.page.evaluate("document.documentElement.scrollWidth") == 375


def test_dark_and_light(typed: RunningServer, visit: Open) -> None:
    """The page follows the system's colours."""
    grounds = [
        visit(f"{typed.url}/docs", dark=dark).page.evaluate("getComputedStyle(document.body).backgroundColor")
        for dark in (False, True)
    ]
    assert grounds[0] == "rgb(255, 255, 255)"
    assert grounds[0] != grounds[1]


def test_a_script_with_a_schema(shared_server: SharedServer, visit: Open) -> None:
    """The page of a decorated script has its sample, too, and links to all documents."""
    found = visit(f"{shared_server('schema.py').url}/docs")
    assert found.text("#documents") == "3.1, 3, 2"
    found.page.click("#send")
    found.page.wait_for_selector("#status.good")


def test_the_setting_turns_it_off(shared_server: SharedServer) -> None:
    """With AZMLINFSRV_DOCS_ENABLED=false there is no page."""
    server = shared_server("typed.py", env={"AZMLINFSRV_DOCS_ENABLED": "false"})
    assert server.client.get("/docs").status_code == 404


class _Prefix(http.server.BaseHTTPRequestHandler):
    """Passes what is below /models/a on to a server."""

    port = 0

    def _pass(self) -> None:
        prefix, path = self.path[: len("/models/a")], self.path[len("/models/a") :]
        if prefix != "/models/a":
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request(self.command, path, body, {"Content-Type": self.headers.get("Content-Type", "")})
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name in ("Content-Type", "Content-Security-Policy"):
            if answer.headers[name]:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        connection.close()

    do_GET = do_POST = _pass  # noqa: N815 - names of the standard library

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def test_with_an_api_key(server: StartServer, browser: Browser) -> None:
    """Where a key is needed the page asks for it, describes the script once it has it, and sends it; it keeps none."""
    running = server(
        "def init(): pass\ndef run(number: int) -> int: return number\n", env={"AZMLINFSRV_API_KEY": "open"}
    )
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{running.url}/docs")
        expect(page.locator("#about")).to_contain_text("API key", timeout=30_000)
        expect(page.locator("#authorization")).to_be_focused()
        page.keyboard.type("open")
        page.keyboard.press("Tab")
        expect(page.locator("#title")).not_to_have_text("API", timeout=30_000)
        page.click("#send")
        page.wait_for_selector("#status.good")
        assert page.inner_text("#answer") == "0"
        page.click("#documents a")
        expect(page.locator("#answer")).to_contain_text('"openapi": "3.1.0"')
        assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
        page.fill("#authorization", "wrong")
        page.click("#send")
        page.wait_for_selector("#status.bad")


def test_behind_a_path_prefix(server: StartServer, visit: Open) -> None:
    """Behind a proxy that puts a prefix before every path, the page finds its document and scores."""
    running = server(
        "def init(): pass\ndef run(number: int) -> int: return number\n", env={"SERVICE_PATH_PREFIX": "models/a"}
    )
    handler = type("Handler", (_Prefix,), {"port": running.port})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        found = visit(f"http://127.0.0.1:{proxy.server_port}/models/a/docs")
        found.page.click("#send")
        found.page.wait_for_selector("#status.good")
        assert found.text("#answer") == "0"
        assert found.text("#path") == "/models/a/score"
        proxy.shutdown()
        thread.join()
