"""``digitserve bulk`` on a real Ray cluster: each picture is read exactly once, even if a machine dies."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
from ray.cluster_utils import Cluster  # noqa: E402

from app.cli.ray_job import connected, list_pictures, read_pictures  # noqa: E402
from app.settings import Settings  # noqa: E402
from tests.support.pictures import Grey, make_page, png  # noqa: E402
from tests.support.running import ROOT, Server, clean_environment  # noqa: E402

Digits = list[tuple[int, Grey]]
PICTURES = 3_000

# Ray Data warns of its own deprecated options.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of one machine with one core."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def folder(tmp_path: Path, digits: Digits) -> Path:
    """Twenty digits, a file that is no picture, and Parquet files with six pictures, two of them broken."""
    scans = tmp_path / "scans"
    (scans / "more").mkdir(parents=True)
    for number, (digit, image) in enumerate(digits):
        (scans / f"{digit}-{number}.png").write_bytes(png(image))
    (scans / "more" / "broken.png").write_bytes(b"no picture")
    rows: list[dict[str, Any]] = [
        {"path": f"row-{number}", "bytes": png(image)} for number, (_, image) in enumerate(digits[:4])
    ]
    rows += [{"path": "row-4", "bytes": b"no picture"}, {"path": "row-5", "bytes": None}]
    pq.write_table(pa.Table.from_pylist(rows), scans / "more" / "table.parquet")
    return scans


def run_bulk(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", "bulk", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the rows by path. No path occurs twice."""
    rows = pq.read_table(folder).to_pylist()
    by_path = {row["path"]: row for row in rows}
    assert len(by_path) == len(rows)
    return by_path


def test_it_answers_what_the_service_answers(folder: Path, cluster: Any, server: Server, tmp_path: Path) -> None:
    """Files and rows of Parquet files get the service's answers, and a bad picture is a row with a reason."""
    out = tmp_path / "out"
    done = run_bulk(str(folder), "--output", str(out), "--ray", cluster.address)
    assert done.returncode == 1, done.stderr
    assert done.stderr.endswith(
        f"digitserve: 24 of 27 files read: 24 accepted. 3 could not be read; see the column error\n"
        f"digitserve: the results are in {out}\n"
    )
    results = read_results(out)
    for path in folder.glob("*.png"):
        answer = httpx.post(f"{server.url}/predict", content=path.read_bytes(), headers={"Content-Type": "image/png"})
        row = results.pop(str(path))
        assert (row["digit"], row["accepted"]) == (answer.json()["digit"], True)
        assert row["confidence"] == pytest.approx(answer.json()["confidence"])
    broken = results.pop(str(folder / "more" / "broken.png"))
    assert (broken["digit"], broken["reason"]) == (None, "unreadable")
    assert "not an image of an accepted type" in broken["error"]
    assert [results[f"row-{number}"]["reason"] for number in range(6)] == [*[None] * 4, "unreadable", "unreadable"]


def test_it_continues_an_earlier_run(folder: Path, cluster: Any, tmp_path: Path) -> None:
    """The second run reads only what is new, from a pattern and from a URI, and keeps the rest."""
    out = tmp_path / "out"
    arguments = ("--output", str(out), "--ray", cluster.address)
    assert run_bulk(f"{folder}/[0-4]-*.png", *arguments).returncode == 0
    first = read_results(out)
    assert len(first) == 10
    done = run_bulk(f"{folder}/*.png", f"file://{folder}/more/table.parquet", "--resume", *arguments)
    assert "24 of 26 files read: 24 accepted" in done.stderr
    again = run_bulk(f"{folder}/*.png", f"file://{folder}/more", "--resume", *arguments)
    assert "24 of 27 files read" in again.stderr
    results = read_results(out)
    assert len(results) == 27
    assert first.items() <= results.items()


def test_it_reads_numbers(cluster: Any, digits: Digits, tmp_path: Path) -> None:
    """``--read`` gives the text of each picture, with a new line between lines."""
    (tmp_path / "page.png").write_bytes(png(make_page([[image for _, image in digits[:3]]])))
    out = tmp_path / "out"
    done = run_bulk(str(tmp_path / "page.png"), "--read", "--output", str(out), "--ray", cluster.address)
    assert done.returncode == 0, done.stderr
    assert [row["text"] for row in read_results(out).values()] == ["".join(str(digit) for digit, _ in digits[:3])]


def test_a_cluster_that_does_not_answer_is_an_error(tmp_path: Path, seven_png: Path) -> None:
    """In one line, with the address."""
    done = run_bulk(str(seven_png), "--output", str(tmp_path / "out"), "--ray", "127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("digitserve: no connection to the Ray cluster at 127.0.0.1:1")


def test_a_parquet_file_without_pictures_is_an_error(tmp_path: Path, cluster: Any) -> None:
    """The error names the file and the missing column, before anything is read."""
    pq.write_table(pa.table({"path": ["a"], "image": [b"x"]}), tmp_path / "other.parquet")
    done = run_bulk(str(tmp_path / "other.parquet"), "--output", str(tmp_path / "out"), "--ray", cluster.address)
    assert done.returncode == 2
    assert "other.parquet needs the columns path and bytes, and has no bytes" in done.stderr


def test_ctrl_c_keeps_what_is_done(cluster: Any, digits: Digits, tmp_path: Path) -> None:
    """The run ends without a traceback, and the same command with ``--resume`` completes it."""
    rows = [{"path": str(number), "bytes": png(digits[number % 20][1])} for number in range(PICTURES)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "many.parquet", row_group_size=100)
    out = tmp_path / "out"
    command = ["bulk", str(tmp_path / "many.parquet"), "--output", str(out), "--ray", cluster.address, "--resume"]
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *command], cwd=ROOT, env=clean_environment(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(out.glob(".part-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in errors) == (130, False), errors
    assert "--resume continues" in errors
    kept = read_results(out)
    assert 0 < len(kept) < PICTURES
    assert run_bulk(*command[1:]).returncode == 0
    assert len(read_results(out)) == PICTURES


def test_each_picture_is_read_once_although_a_machine_dies(cluster: Any, digits: Digits, tmp_path: Path) -> None:
    """Half-way, one of two machines is killed with all its processes. The other one does its work again."""
    for number in range(PICTURES):
        (tmp_path / f"{number}.png").write_bytes(png(digits[number % 20][1]))
    node = cluster.add_node(num_cpus=1)
    paths, killed = [], False
    with connected(cluster.address):
        assert ray.cluster_resources()["CPU"] == 2
        pictures = list_pictures([str(tmp_path)], set())
        for table in read_pictures(pictures, Settings(_env_file=None), whole_numbers=False):
            paths += table["path"].to_pylist()
            assert table["accepted"].to_pylist() == [True] * len(table)
            if len(paths) > PICTURES / 2 and not killed:
                cluster.remove_node(node, allow_graceful=False)
                killed = True
    assert killed
    assert sorted(paths) == sorted(str(path) for path in tmp_path.iterdir())
