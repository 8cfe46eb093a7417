"""The comparison of servers: what is measured is what it says, and nothing of it is left behind."""

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

from app.http.upload import take_image, take_images
from benchmarks import load, report
from benchmarks.environments import activated
from benchmarks.peers import CONTENDERS, OURS, ROOT
from benchmarks.results import Figure, Results, Run
from benchmarks.servers import check, chosen, digit_of
from benchmarks.serving import TICKS, Process, ServerError

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


def figure(per_second: float, connections: int = 16, **more: float) -> Figure:
    values = {"p50_ms": 1.0, "p99_ms": 2.0, "cpu_us": 3.0, "refused": 0, "broken": 0, "load_busy": 0.1} | more
    return Figure(connections, per_second, **values)  # type: ignore[arg-type]  # some of them are whole numbers


def results(**rates: list[float]) -> Results:
    """A comparison with one figure a run, at 16 connections."""
    runs = [
        Run(name.replace("_", "-"), 1.5, 100.0, [figure(rate)])
        for name, all_of_it in rates.items()
        for rate in all_of_it
    ]
    return Results({"Date": "a Tuesday"}, rounds=3, runs=runs)


def test_what_wrk_saw_is_read_from_the_end_of_its_report() -> None:
    """Requests, percentiles and faults come from the script's line; the share of its core from the CPU time."""
    seen = load.parse(WRK, cpu_seconds=0.5)
    assert (seen.requests, seen.p50_ms, seen.p99_ms, seen.refused, seen.broken) == (1583, 8.891, 36.33, 0, 2)
    assert seen.busy == pytest.approx(0.5, abs=0.001)
    told = re.search(r"Requests/sec:\s*([\d.]+)", WRK)
    assert told
    assert seen.requests / seen.seconds == pytest.approx(float(told[1]), rel=1e-4)


def test_a_request_is_http_as_a_server_reads_it(seven: NDArray[np.uint8]) -> None:
    """h11 reads the prepared bytes as one whole POST, and the service's own parser finds the file in its form."""
    file = load.png(seven)
    post = load.multipart("/predict", "file", [file])
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(post.wire(8000))
    request, body, end = (connection.next_event() for _ in range(3))
    assert isinstance(request, h11.Request)
    assert isinstance(body, h11.Data)
    assert isinstance(end, h11.EndOfMessage)
    assert (request.method, request.target) == (b"POST", b"/predict")
    assert take_image(dict(request.headers)[b"content-type"], bytes(body.data)) == file


def test_a_form_holds_its_files_in_order(digits: list[tuple[int, NDArray[np.uint8]]]) -> None:
    """The batch's form has each picture as a part of its own."""
    files = [load.png(image) for _, image in digits]
    post = load.multipart("/predict/batch", "file", files)
    assert take_images(post.content_type.encode(), post.body, most=len(files)) == files


def test_a_binary_tensor_says_where_its_pixels_start(seven: NDArray[np.uint8]) -> None:
    """What follows the JSON, whose length is a header, is the pictures, row by row."""
    pictures = np.stack([seven, seven])
    post = load.binary_tensor("/v2/models/digitnet/infer", pictures)
    start = int(dict(post.headers)["Inference-Header-Content-Length"])
    assert post.body[start:] == pictures.tobytes()


def test_a_process_is_read_from_its_line_whatever_its_name() -> None:
    """A name with brackets and spaces in it does not move the fields; children's time is added to its own."""
    line = "4242 (ray::(idle) x) S 17 4242 4242 0 -1 4194560 1 2 3 4 100 50 30 20 20 0 1 0 99 1000 10"
    assert Process.parse(line) == Process(4242, parent=17, state="S", cpu_seconds=200 / TICKS)


# A server whose leader starts a process that works and ends, and one that leaves its parent and stays.
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
from benchmarks.serving import descendants, serving

with serving([sys.executable, "leaving.py"], Path(sys.argv[1]), os.environ, Path(sys.argv[1], "log")) as server:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        time.sleep(0.3)
        here = descendants(os.getpid())
        orphans = [process for process in here if process.parent == os.getpid() and process.pid != server.leader.pid]
        if any(process.state == "S" for process in orphans):
            break
    cpu, megabytes = server.cpu_seconds(), server.resident_megabytes()
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(len(orphans) > 0, cpu, used.ru_utime + used.ru_stime, megabytes, len(descendants(os.getpid())))
"""


def test_every_process_of_a_server_is_counted_and_ended(tmp_path: Path) -> None:
    """The time of a child that has ended counts, as the kernel's own account of it says, and an orphan does not stay.

    In a process of its own, for that becomes the one that orphans are given to.
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


def test_a_server_that_tells_another_digit_is_not_measured() -> None:
    """One that says 3 to everything passes as long as threes are shown, and no longer."""
    post = load.raw("/predict", b"")
    with HTTPServer(("127.0.0.1", 0), AlwaysThree) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            check([post, post], [3, 3], server.server_port)
            with pytest.raises(ServerError, match="and not 7"):
                check([post, post], [3, 7], server.server_port)
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
    """As our answers and most have it, as a list of one, and as the Open Inference Protocol has it."""
    assert digit_of(answer) == 7


def test_the_table_compares_medians_and_the_better_of_two_ways() -> None:
    """Ours at 400/s is twice the better way of LitServe; the other way, and a failure, are told beneath."""
    told = results(digitserve=[100, 400, 900], litserve_1=[200, 210, 190], litserve_16=[90, 95, 100])
    told.failures["torchserve-16"] = "there is no Java"
    document = report.document(told)
    assert re.search(r"^\| LitServe \| 200 \| 2\.00 \|", document, re.MULTILINE)
    assert re.search(r"^\| \*\*digitserve\*\* \| 400 \| 1\.00 \|", document, re.MULTILINE)
    assert "LitServe is the faster one by one; in batches of up to 16 it made 95.0 requests/s." in document
    assert "torchserve-16 could not be measured: there is no Java" in document
    assert document.index("**digitserve** |") < document.index("| LitServe |"), "the fastest comes first"


def test_faults_and_a_load_at_its_limit_are_told() -> None:
    """A figure is not left to look better than it is."""
    told = results(constant=[])
    told.runs = [Run("constant", 0.5, 20.0, [figure(30_000, load_busy=0.97, refused=3, broken=4)])]
    document = report.document(told)
    assert "refused or did not answer 7 requests" in document
    assert "wrk took 97% of its own core" in document
    assert "of which 1 was finished" in document


def test_a_comparison_is_the_same_when_it_is_read_again(tmp_path: Path) -> None:
    """results.json has everything that the report is made of."""
    told = results(digitserve=[400.5], tutorial=[100.25])
    told.versions["fastapi"], told.installed_mb["tutorial"] = "1.0", 40.0
    report.write(told, tmp_path)
    assert Results.load(tmp_path / "results.json") == told
    assert (tmp_path / "results.svg").read_text().startswith("<?xml")
    assert (tmp_path / "RESULTS.md").read_text() == report.document(told)


@pytest.mark.parametrize(
    ("value", "written"),
    [(28_900.4, "28,900"), (211.4, "211"), (36.33, "36.3"), (9.5, "9.50"), (0.165, "0.165"), (None, "-")],
)
def test_a_number_has_three_digits(value: float | None, written: str) -> None:
    """More would pretend to be exact."""
    assert report.number(value) == written


def test_servers_are_chosen_by_name_or_by_folder() -> None:
    """litserve is both ways of it; a name that is none stops with those that are."""
    assert [contender.name for contender in chosen(["litserve"])] == ["litserve-1", "litserve-16"]
    assert [contender.name for contender in chosen(["litserve-16"])] == ["litserve-16"]
    assert chosen(None) == CONTENDERS
    with pytest.raises(SystemExit, match=r"flask.*there are .*torchserve"):
        chosen(["flask"])


def test_each_contender_can_be_installed_and_told_apart() -> None:
    """Each has a requirements file and a name of its own, and ours is among them."""
    assert len({contender.name for contender in CONTENDERS}) == len(CONTENDERS)
    for contender in CONTENDERS:
        assert (ROOT / "benchmarks" / "peers" / contender.folder / "requirements.txt").read_text().strip()
    assert OURS in CONTENDERS


def test_ours_is_measured_with_its_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of whoever measures reaches the server, and the command sets none but the port."""
    monkeypatch.setenv("DIGITS_LOG_LEVEL", "error")
    assert not [name for name in activated(tmp_path) if name.startswith("DIGITS_")]
    assert OURS.command == ("python", "-m", "app", "serve", "--port", "{port}")
    assert not OURS.environment
