"""Draws the panels of the dashboard from what a real Prometheus answers: the program behind scripts/draw-dashboard."""

from __future__ import annotations

import html
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from playwright.sync_api import sync_playwright

from tests.dashboard.monitor import Monitor, Series
from tests.dashboard.panels import Panel, Query, panels
from tests.ports import ReservedPort
from tests.process.asking import ask
from tests.servers import RunningServer, server_command, server_environment

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "images" / "grafana-dashboard.png"
SCRIPT = ROOT / "tests" / "process" / "scripts" / "steps.py"
BROWSER = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]

SECONDS = 120
WORKERS = 3
COLUMN, LINE, GAP = 56, 30, 8
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#f2495c", "#b877d9", "#8ab8ff", "#ffa6b0")
STYLE = """
body { margin: 0; background: #111217; color: #ccccdc; font: 12px sans-serif; }
.panel { position: absolute; box-sizing: border-box; background: #181b1f; border: 1px solid #2a2d33; padding: 6px 8px; }
.row { position: absolute; font-size: 14px; padding-top: 6px; }
.value { font-size: 34px; text-align: center; margin-top: 18px; color: #73bf69; }
.none { text-align: center; margin-top: 60px; color: #777; }
.legend { margin-top: 2px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; font-size: 11px; }
text { fill: #8e8e9e; font-size: 10px; }
"""
SCALES = {"bytes": ((2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB")), "Bps": ((1e6, " MB/s"), (1e3, " kB/s"))}
ENDS = {"s": " s", "reqps": " req/s", "bytes": " B", "Bps": " B/s"}

_Kind = tuple[str, dict[str, object]]


def written(value: float, unit: str) -> str:
    """Return a value as a person reads it."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    for size, end in SCALES.get(unit, ()):
        if value >= size:
            return f"{value / size:.3g}{end}"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}" + ENDS.get(unit, "")


def send(server: RunningServer, stop: threading.Event, number: int) -> None:
    """Send requests of many kinds until told to stop; broken connections are part of the show."""
    kinds: list[_Kind] = [("sleep", {"seconds": 0.004 * (1 + turn % 5)}) for turn in range(20)]
    odd: list[_Kind] = [("fail", {"text": "shown"}), ("sleep", {"seconds": 0.15}), ("sleep", {"seconds": 0.7})]
    kinds += odd[: 1 + number % 3]
    while not stop.is_set():
        for what, arguments in kinds:
            try:
                ask(server, what, **arguments)
                server.client.get(("/", "/ready", "/nothing")[number % 3])
                if number == 0:
                    server.client.post("/score", content=b"x" * 20_000)
            except Exception as error:  # noqa: BLE001 - a worker dies on purpose
                sys.stderr.write(f"broken: {type(error).__name__}\n")
            if stop.wait(0.01):
                return


def leave(server: RunningServer) -> None:
    """Ask for something, and be gone before it is there."""
    body = b'{"do": "sleep", "seconds": 0.3}'
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def make_history(server: RunningServer) -> None:
    """Make load that grows, and have a worker die in the middle of it."""
    stop = threading.Event()
    with ThreadPoolExecutor(9) as pool:
        for number in range(9):
            pool.submit(send, server, stop, number)
            for _ in range(3):
                leave(server)
                time.sleep(SECONDS / 27)
            if number == 5:
                os.kill(psutil.Process(server.process.pid).children()[0].pid, signal.SIGKILL)
        stop.set()


def line_of(series: Series, since: float, top: float, width: int, height: int) -> str:
    """Return the line of a series; a NaN, where there was nothing to divide, leaves a gap."""
    points = [(t, v) for t, v in series.points if v == v]  # noqa: PLR0124 - a NaN is not itself
    path = " ".join(f"{(t - since) / SECONDS * width:.1f},{height - min(v / top, 1) * height:.1f}" for t, v in points)
    return f'<polyline fill="none" stroke-width="1.3" points="{path}"/>'


def chart(panel: Panel, answers: list[tuple[Query, list[Series]]], since: float, size: tuple[int, int]) -> str:
    """Return a panel with lines: the chart, then its legend."""
    width, height = size[0] - 80, size[1] - 74
    lines = [(query, series) for query, found in answers for series in found]
    if not lines:
        return '<div class="none">No data</div>'
    top = max((value for _, series in lines for _, value in series.points if value == value), default=0) * 1.1 or 1  # noqa: PLR0124
    drawn = [
        f'<g stroke="{COLOURS[number % len(COLOURS)]}">{line_of(series, since, top, width, height)}</g>'
        for number, (_, series) in enumerate(lines)
    ]
    grid = [
        f'<path stroke="#2a2d33" d="M0 {height * part:.0f}H{width}"/>'
        f'<text x="-4" y="{height * part + 4:.0f}" text-anchor="end">{written(top * (1 - part), panel.unit)}</text>'
        for part in (0, 0.25, 0.5, 0.75, 1)
    ]
    names = [
        f'<span style="color:{COLOURS[n % len(COLOURS)]}">— {html.escape(name(*each))}</span>'
        for n, each in enumerate(lines)
    ]
    inside = "".join(grid + drawn)
    svg = f'<svg width="{width + 62}" height="{height + 12}"><g transform="translate(58,6)">{inside}</g></svg>'
    return f'{svg}<div class="legend">{"&ensp;".join(names)}</div>'


def name(query: Query, series: Series) -> str:
    """Return the name of a line."""
    text = query.legend
    for label, value in series.labels.items():
        text = text.replace("{{" + label + "}}", value)
    return text


def boxes(monitor: Monitor, since: float, until: float) -> Iterator[str]:
    """Return each panel with what Prometheus answers."""
    for panel in panels():
        x, y, columns, lines = panel.place
        size = columns * COLUMN - GAP, lines * LINE - GAP
        style = f"left:{x * COLUMN + GAP}px;top:{y * LINE + GAP}px;width:{size[0]}px;height:{size[1]}px"
        title = f"<b>{html.escape(panel.title)}</b>"
        if panel.kind == "row":
            yield f'<div class="row" style="{style}">{title}</div>'
            continue
        if panel.kind == "stat":
            found = monitor.ask(panel.queries[0].filled("30s"))
            inside = f'<div class="value">{written(found[0].points[0][1], panel.unit)}</div>'
        else:
            answers = [(query, monitor.ask_range(query.filled("10s"), since, until, 1)) for query in panel.queries]
            inside = chart(panel, answers, since, size)
        yield f'<div class="panel" style="{style}">{title}{inside}</div>'


def take_picture(page_html: str) -> None:
    """Write the picture of a page."""
    height = max(panel.place[1] + panel.place[3] for panel in panels()) * LINE + GAP
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=BROWSER)
        page = browser.new_page(viewport={"width": 24 * COLUMN + GAP, "height": height})
        page.set_content(page_html)
        page.screenshot(path=PICTURE)
        browser.close()


def main() -> None:
    """Serve, scrape, make load, ask and draw."""
    program = shutil.which("prometheus")
    if program is None:
        sys.exit("prometheus is missing: scripts/test unpacks it, or apt-get install prometheus")
    with tempfile.TemporaryDirectory() as scratch, ReservedPort() as reserved:
        folders = [Path(scratch) / each for each in ("server", "prometheus")]
        for folder in folders:
            folder.mkdir()
        port = reserved.number
        environment = server_environment({"WORKER_COUNT": str(WORKERS), "SCORING_TIMEOUT_MS": "600"})
        command = server_command(SCRIPT, port, ["--max_body_bytes", "10000"])
        server = RunningServer(command, port, folders[0], environment)
        monitor = Monitor(program, folders[1], port, "1s")
        try:
            server.wait_ready()
            monitor.wait_until(lambda: monitor.ask("azmlinfsrv_workers_up"))
            since = time.time()
            make_history(server)
            drawn = "".join(boxes(monitor, since, since + SECONDS))
        finally:
            monitor.stop()
            server.stop()
    take_picture(f"<!doctype html><style>{STYLE}</style>{drawn}")


if __name__ == "__main__":
    main()
