"""The Ray Data job of ``digitserve bulk``: lists pictures, and reads them with one engine per core of the cluster.

Ray Data streams: it loads only as much as the engines and the output can take, and repeats what a lost machine
was doing. The batches are tasks, and each worker process keeps its engine for the next one. Actors would keep engines,
too, but an actor of a lost machine waits for another core, and its batches wait with it. The workers need the same
version of digitserve. They get the model from this process.
"""

import glob
import logging
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import ray
import ray.data

from app.cli.image_files import SUFFIXES, ImageFile, find_image_files
from app.cli.local_reader import LocalReader
from app.cli.parquet_output import UNREADABLE, make_schema
from app.errors import CommandError, DigitserveError, UsageError
from app.settings import Settings

BATCH = 1_024  # pictures that an engine gets at once
READER_CORES = 0.9  # for an engine; the rest of a core is for tasks that load Parquet files
LOADER_CORES = 0.1
DOWNLOADS = 16  # at a time, by each reader
CONNECT_TIMEOUT_S = 5.0  # Ray itself tries for five minutes
COLUMNS = ["path", "bytes"]  # of Parquet files with pictures


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start Ray on this machine.

    Raises:
        CommandError: There is no cluster at the address.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's own processes would write to our standard error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    try:
        if address and address != "auto":
            url = urlsplit(address if "://" in address else f"//{address}")
            socket.create_connection((url.hostname or "", url.port or 0), CONNECT_TIMEOUT_S).close()
        # Without an address Ray starts here, and its dashboard would only take time.
        start = {"address": address} if address else {"address": "local", "include_dashboard": False}
        ray.init(**start, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise CommandError(f"no connection to the Ray cluster at {address}: {reason}") from None
    try:
        yield
    finally:
        ray.shutdown()


@dataclass
class Pictures:
    """The pictures that are still to be read."""

    files: list[str] = field(default_factory=list)  # paths and URIs
    parquet: list[str] = field(default_factory=list)  # Parquet files with pictures
    faults: list[ImageFile] = field(default_factory=list)  # folders that cannot be read
    done: frozenset[str] = frozenset()  # pictures in the Parquet files that earlier runs have read
    count: int = 0  # of all of them


def list_pictures(inputs: Sequence[str], done: set[str]) -> Pictures:
    """List the pictures, except those that earlier runs have read.

    Raises:
        UsageError: A Parquet file does not have the columns that it needs.
        CommandError: An object store cannot be listed.
    """
    pictures = Pictures()
    for name in inputs:
        try:
            for image in list_uri(name) if "://" in name else list_local(name):
                if image.error:
                    pictures.faults.append(image)
                else:
                    (pictures.parquet if image.file.endswith(".parquet") else pictures.files).append(image.file)
        except OSError as error:
            raise CommandError(f"{name}: {error.strerror or error}") from None
    rows = sum(count_rows(file) for file in pictures.parquet)
    pictures.done = frozenset(done.difference(pictures.files))
    pictures.files = [file for file in pictures.files if file not in done]
    pictures.faults = [fault for fault in pictures.faults if fault.file not in done]
    pictures.count = len(pictures.files) + len(pictures.faults) + max(rows - len(pictures.done), 0)
    return pictures


def list_local(name: str) -> Iterator[ImageFile]:
    """List a file, the pictures and Parquet files of a folder, or what fits a pattern."""
    is_pattern = glob.has_magic(name) and not Path(name).exists()
    names = sorted(glob.glob(name, recursive=True)) if is_pattern else [name]  # noqa: PTH207  # as a shell does it
    for path in map(Path, names):
        tables = sorted(path.rglob("*.parquet")) if path.is_dir() else []
        yield from (ImageFile(str(table)) for table in tables)
        yield from (image for image in find_image_files([path]) if not (tables and image.file == str(path)))


def list_uri(uri: str) -> Iterator[ImageFile]:
    """List a file, the pictures and Parquet files of a folder, or what fits a pattern, in an object store."""
    store, path = open_store(uri)
    if store.get_file_info(path).is_file:
        yield ImageFile(uri)
        return
    folders = [path, *map(str, PurePosixPath(path).parents)]
    selector = pafs.FileSelector(next(folder for folder in folders if not glob.has_magic(folder)), recursive=True)
    parts = urlsplit(uri)
    for info in store.get_file_info(selector):
        is_named = fnmatchcase(info.path, path if glob.has_magic(path) else f"{path.rstrip('/')}/*")
        if info.is_file and is_named and info.path.lower().endswith((*SUFFIXES, ".parquet")):
            yield ImageFile(f"{parts.scheme}://{quote(info.path)}{parts.query and '?'}{parts.query}")


def open_store(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system of a URI, and the path in it. One client serves all URIs of a bucket."""
    parts = urlsplit(uri)
    store, root = connect_store(parts._replace(path="/" if not parts.netloc else "").geturl())
    return store, unquote(f"{root.rstrip('/')}{parts.path}")


@cache
def connect_store(root: str) -> tuple[pafs.FileSystem, str]:
    """Connect to the file system of a bucket."""
    store, path = pafs.FileSystem.from_uri(root)
    return store, str(path)


def open_table(file: str) -> pq.ParquetFile:
    """Open a Parquet file."""
    if "://" not in file:
        return pq.ParquetFile(file)
    store, path = open_store(file)
    return pq.ParquetFile(store.open_input_file(path))


def count_rows(file: str) -> int:
    """Return how many pictures a Parquet file has.

    Raises:
        UsageError: It is no Parquet file, or does not have the columns that it needs.
    """
    try:
        table = open_table(file)
    except pa.ArrowInvalid:
        raise UsageError(f"{file} is not a Parquet file") from None
    if missing := [column for column in COLUMNS if column not in table.schema_arrow.names]:
        raise UsageError(f"{file} needs the columns {' and '.join(COLUMNS)}, and has no {missing[0]}")
    return int(table.metadata.num_rows)


def read_pictures(pictures: Pictures, settings: Settings, whole_numbers: bool) -> Iterator[pa.Table]:
    """Read all pictures. Yield the results in the order in which they are ready, in the columns of ``make_schema``."""
    schema = make_schema(whole_numbers)
    if pictures.faults:
        rows = [make_row(file, whole_numbers, error) for file, error in pictures.faults]
        yield pa.Table.from_pylist(rows, schema)
    model = {file.name: file.read_bytes() for file in settings.model.iterdir() if file.is_file()}
    arguments = (ray.put(model), settings, whole_numbers, Path.cwd(), ray.put(pictures.done))
    datasets: list[ray.data.Dataset] = []
    if pictures.files:
        parts = [pictures.files[start : start + BATCH] for start in range(0, len(pictures.files), BATCH)]
        datasets.append(ray.data.from_arrow([pa.table({"path": part}) for part in parts]))
    if pictures.parquet:
        files = [file if "://" in file else str(Path(file).absolute()) for file in pictures.parquet]
        tables = ray.data.read_parquet(files, columns=COLUMNS, num_cpus=LOADER_CORES)
        datasets.append(tables.repartition(target_num_rows_per_block=BATCH))  # else a file is one task
    for dataset in datasets:
        results = dataset.map_batches(
            partial(read_batch, arguments=arguments),
            batch_size=BATCH,
            batch_format="pyarrow",
            num_cpus=READER_CORES,
        )
        for table in results.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield cast("pa.Table", table).cast(schema)


def read_batch(table: pa.Table, arguments: tuple[Any, ...]) -> pa.Table:
    """Map a batch to its results, with the reader of this worker process."""
    return make_reader(*arguments)(table)


class Reader:
    """Reads batches of pictures in a worker process, with an engine of its own."""

    def __init__(
        self, model: "ray.ObjectRef[dict[str, bytes]]", settings: Settings, whole_numbers: bool, folder: Path, done: Any
    ) -> None:
        with tempfile.TemporaryDirectory() as name:
            for file, content in ray.get(model).items():
                Path(name, file).write_bytes(content)
            self._reader = LocalReader(settings.model_copy(update={"model": Path(name), "threads": 1}), whole_numbers)
        self._whole_numbers, self._folder, self._done = whole_numbers, folder, ray.get(done)
        self._schema = make_schema(whole_numbers)
        self._downloads = ThreadPoolExecutor(DOWNLOADS)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Map rows of paths, or of paths and bytes, to results."""
        names = table["path"].to_pylist()
        if "bytes" in table.column_names:
            loaded: list[bytes | str | None] = table["bytes"].to_pylist()
        elif any("://" in name for name in names):
            loaded = list(self._downloads.map(self._load, names))
        else:
            loaded = [self._load(name) for name in names]
        answers = iter(self._reader.read([data for data in loaded if isinstance(data, bytes)]))
        rows = []
        for name, data in zip(names, loaded, strict=True):
            result = next(answers) if isinstance(data, bytes) else data or "There are no bytes."
            if name not in self._done:
                rows.append(make_row(name, self._whole_numbers, result))
        return pa.Table.from_pylist(rows, self._schema)

    def _load(self, name: str) -> bytes | str:
        """Return the bytes of a file, or why it cannot be read."""
        try:
            if "://" not in name:
                return (self._folder / name).read_bytes()
            store, path = open_store(name)
            with store.open_input_file(path) as file:
                return bytes(file.read())
        except OSError as error:
            return error.strerror or str(error)


def make_row(path: str, whole_numbers: bool, result: dict[str, Any] | DigitserveError | str | None) -> dict[str, Any]:
    """Return the row of a picture: what the service answers, or the error."""
    if isinstance(result, dict):
        answer = "text" if whole_numbers else "digit"
        return {"path": path, **{name: result[name] for name in (answer, "confidence", "accepted", "reason")}}
    return {"path": path, "accepted": False, "reason": UNREADABLE, "error": str(result)}


make_reader = cache(Reader)
