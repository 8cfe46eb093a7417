"""The comparison of servers: it measures what it claims, and leaves no process behind."""

import re
import subprocess
import sys
import textwrap
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import h11
import numpy as np
import pytest
from numpy.typing import NDArray

from app.http.image_upload import extract_image, extract_images
from app.imaging.encode import to_png
from benchmarks import load, report
from benchmarks.environments import server_variables
from benchmarks.peers import CONTENDERS, OURS, ROOT
from benchmarks.results import Figure, Results, Run
from benchmarks.server_process import TICKS, Process, ServerError
from benchmarks.servers import check_digits, parse_digit, select_contenders

WRK = """\
Running 1s test @ http://127.0.0.1:8000
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     9.51ms    4.27ms  37.99ms   82.30%
    Req/Sec     1.59k   132.55     1.76k    70.00%
  1583 requests in 1.00s, 1.02MB read
Requests/sec:   1580.21
Transfer/sec:      1.02MB
{"requests": 1583, "seconds": 1.001765, "p50_ms": 8.891000, "p99_ms": 36.330000, "refused": 0, "broken": 2}
"""


def make_figure(per_second: float, connections: int = 16, **more: float) -> Figure:
    values = {"p50_ms": 1.0, "p99_ms": 2.0, "cpu_us": 3.0, "refused": 0, "broken": 0, "load_busy": 0.1} | more
    return Figure(connections, per_second, **values)  # type: ignore[arg-type]  # some fields are integers


def make_results(**rates: list[float]) -> Results:
    """Make a comparison with one figure per run, at 16 connections."""
    runs = [
        Run(name.replace("_", "-"), 1.5, 100.0, [make_figure(rate)])
        for name, server_rates in rates.items()
        for rate in server_rates
    ]
    return Results({"Date": "a Tuesday"}, rounds=3, runs=runs)


def test_the_results_of_wrk_are_read_from_the_end_of_its_report() -> None:
    """Requests, percentiles and faults come from the script's line; the share of its core from the CPU time."""
    result = load.parse_report(WRK, cpu_seconds=0.5)
    assert (result.requests, result.p50_ms, result.p99_ms, result.refused, result.broken) == (1583, 8.891, 36.33, 0, 2)
    assert result.busy == pytest.approx(0.5, abs=0.001)
    printed = re.search(r"Requests/sec:\s*([\d.]+)", WRK)
    assert printed
    assert result.requests / result.seconds == pytest.approx(float(printed[1]), rel=1e-4)


def test_a_prepared_request_is_valid_http(seven: NDArray[np.uint8]) -> None:
    """h11 reads the prepared bytes as one complete POST, and the service's own parser finds the file in its form."""
    file = to_png(seven)
    post = load.multipart_post("/predict", "file", [file])
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(post.encode(8000))
    request, body, end = (connection.next_event() for _ in range(3))
    assert isinstance(request, h11.Request)
    assert isinstance(body, h11.Data)
    assert isinstance(end, h11.EndOfMessage)
    assert (request.method, request.target) == (b"POST", b"/predict")
    assert extract_image(dict(request.headers)[b"content-type"], bytes(body.data)) == file


def test_a_form_holds_its_files_in_order(digits: list[tuple[int, NDArray[np.uint8]]]) -> None:
    """In the form of a batch, each picture is a separate part."""
    files = [to_png(image) for _, image in digits]
    post = load.multipart_post("/predict/batch", "file", files)
    assert extract_images(post.content_type.encode(), post.body, max_files=len(files)) == files


def test_a_binary_tensor_says_where_its_pixels_start(seven: NDArray[np.uint8]) -> None:
    """A header has the length of the JSON; the pictures follow it, row by row."""
    pictures = np.stack([seven, seven])
    post = load.binary_tensor_post("/v2/models/digitnet/infer", pictures)
    start = int(dict(post.headers)["Inference-Header-Content-Length"])
    assert post.body[start:] == pictures.tobytes()


def test_a_process_is_parsed_whatever_its_name() -> None:
    """Brackets and spaces in a name do not shift the fields; children's time is added to its own."""
    line = "4242 (ray::(idle) x) S 17 4242 4242 0 -1 4194560 1 2 3 4 100 50 30 20 20 0 1 0 99 1000 10"
    assert Process.parse(line) == Process(4242, parent=17, state="S", cpu_seconds=200 / TICKS)


# A server whose leader starts a process that works and ends, and one that leaves its parent and keeps running.
LEAVING = """
import subprocess, sys, time
burn = "import time\\nwhile time.process_time() < 0.4: pass"
subprocess.run([sys.executable, "-c", burn])
subprocess.Popen(["setsid", "sh", "-c", "sleep 987654 & sleep 0.1"])
time.sleep(987654)
"""

WATCHING = """
import os, resource, sys, time
from pathlib import Path
from benchmarks.server_process import list_descendants, run_server

with run_server([sys.executable, "leaving.py"], Path(sys.argv[1]), os.environ, Path(sys.argv[1], "log")) as server:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        time.sleep(0.3)
        children = [process for process in list_descendants(os.getpid()) if process.parent == os.getpid()]
        orphans = [process for process in children if process.pid != server.leader.pid]
        if any(process.state == "S" for process in orphans):
            break
    cpu, megabytes = server.cpu_seconds(), server.resident_megabytes()
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(len(orphans) > 0, cpu, used.ru_utime + used.ru_stime, megabytes, len(list_descendants(os.getpid())))
"""


def test_every_process_of_a_server_is_counted_and_stopped(tmp_path: Path) -> None:
    """The CPU time includes children that have ended and agrees with the kernel's total, and no orphan is left.

    Runs in a separate process, because that process becomes the subreaper of orphans.
    """
    (tmp_path / "leaving.py").write_text(LEAVING)
    watched = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WATCHING), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    adopted, cpu, used, megabytes, left = watched.stdout.split()
    assert adopted == "True"
    assert float(cpu) >= 0.4
    assert float(cpu) == pytest.approx(float(used), abs=0.1)
    assert float(megabytes) > 1
    assert left == "0"


class AlwaysThree(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"digit": 3}')

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_reads_another_digit_is_not_measured() -> None:
    """A server that always answers 3 passes for pictures of threes only."""
    post = load.raw_post("/predict", b"")
    with HTTPServer(("127.0.0.1", 0), AlwaysThree) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            check_digits([post, post], [3, 3], server.server_port)
            with pytest.raises(ServerError, match="instead of 7"):
                check_digits([post, post], [3, 7], server.server_port)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b'{"digit": 7, "probabilities": []}',
        b'[{"digit": 7}]',
        b'{"model_name": "textbook", "outputs": [{"name": "digit", "shape": [1, 1], "data": [7]}]}',
    ],
)
def test_the_digit_is_found_in_every_form_of_answer(answer: bytes) -> None:
    """In an object, as most servers answer, in a list of one object, and in an Open Inference Protocol tensor."""
    assert parse_digit(answer) == 7


def test_the_table_compares_medians_of_the_faster_of_two_ways() -> None:
    """Our 400/s is twice the faster way of LitServe. The remarks mention the other way, and a failure."""
    results = make_results(digitserve=[100, 400, 900], litserve_1=[200, 210, 190], litserve_16=[90, 95, 100])
    results.failures["torchserve-16"] = "Java is missing"
    document = report.format_report(results)
    assert re.search(r"^\| LitServe \| 200 \| 2\.00 \|", document, re.MULTILINE)
    assert re.search(r"^\| \*\*digitserve\*\* \| 400 \| 1\.00 \|", document, re.MULTILINE)
    assert "LitServe is faster one by one; in batches of up to 16 it reached 95.0 requests/s." in document
    assert "torchserve-16 could not be measured: Java is missing" in document
    assert document.index("**digitserve** |") < document.index("| LitServe |"), "the fastest must come first"


def test_faults_and_a_saturated_load_generator_are_reported() -> None:
    """The report does not let a figure look better than it is."""
    results = make_results(constant=[])
    results.runs = [Run("constant", 0.5, 20.0, [make_figure(30_000, load_busy=0.97, refused=3, broken=4)])]
    document = report.format_report(results)
    assert "refused or did not answer 7 requests" in document
    assert "wrk used 97% of its own core" in document
    assert "of which 1 was finished" in document


def test_results_survive_saving_and_loading(tmp_path: Path) -> None:
    """results.json has everything that the report needs."""
    results = make_results(digitserve=[400.5], tutorial=[100.25])
    results.versions["fastapi"], results.installed_mb["tutorial"] = "1.0", 40.0
    report.write(results, tmp_path)
    assert Results.load(tmp_path / "results.json") == results
    assert (tmp_path / "results.svg").read_text().startswith("<?xml")
    assert (tmp_path / "RESULTS.md").read_text() == report.format_report(results)


@pytest.mark.parametrize(
    ("value", "text"),
    [(28_900.4, "28,900"), (211.4, "211"), (36.33, "36.3"), (9.5, "9.50"), (0.165, "0.165"), (None, "-")],
)
def test_a_number_has_three_digits(value: float | None, text: str) -> None:
    """More digits would suggest a precision that the measurements lack."""
    assert report.format_number(value) == text


def test_servers_are_selected_by_name_or_by_folder() -> None:
    """litserve selects both of its ways. An unknown name exits with the list of known names."""
    assert [contender.name for contender in select_contenders(["litserve"])] == ["litserve-1", "litserve-16"]
    assert [contender.name for contender in select_contenders(["litserve-16"])] == ["litserve-16"]
    assert select_contenders(None) == CONTENDERS
    with pytest.raises(SystemExit, match=r"flask.*choose from .*torchserve"):
        select_contenders(["flask"])


def test_each_contender_has_a_name_and_requirements() -> None:
    """The names are unique, each has a requirements file, and digitserve is among them."""
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)
    for contender in CONTENDERS:
        assert (ROOT / "benchmarks" / "peers" / contender.folder / "requirements.txt").read_text().strip()
    assert OURS in CONTENDERS


def test_ours_is_measured_with_its_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No DIGITS_ variable of the caller reaches the server, and the command sets only the port."""
    monkeypatch.setenv("DIGITS_LOG_LEVEL", "error")
    assert not [name for name in server_variables(tmp_path) if name.startswith("DIGITS_")]
    assert OURS.command == ("python", "-m", "app", "serve", "--port", "{port}")
    assert not OURS.environment
