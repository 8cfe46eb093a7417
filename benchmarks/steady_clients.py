"""Clients that post digits at a steady pace and keep what each request got."""

import http.client
import io
import itertools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from app.inference import model_folder
from app.settings import released_model

CLIENTS = 8
PAUSE_S = 0.03  # between an answer and the client's next request
TIMEOUT_S = 60


@dataclass(frozen=True)
class Answer:
    """What one request got. Times are in seconds of the same clock."""

    client: int
    started: float
    ended: float
    pod: str  # the address that the gateway chose; empty without an answer
    model: str
    failure: str  # empty if the digit is right


@contextmanager
def sending(port: int, answers: list[Answer]) -> Iterator[None]:
    """Post digits until the block ends, and append what the clients get to ``answers``."""
    pictures = []
    for golden in model_folder.load(released_model()).manifest.golden:
        file = io.BytesIO()
        Image.fromarray(golden.image).save(file, "PNG")
        pictures.append((golden.digit, file.getvalue()))
    stop = threading.Event()

    def send(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        for digit, picture in itertools.cycle(pictures[client:] + pictures[:client]):
            if stop.wait(PAUSE_S):
                break
            answers.append(post(connection, client, digit, picture))
        connection.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(send, client) for client in range(CLIENTS)]
        try:
            yield
        finally:
            stop.set()
    for done in clients:
        done.result()


def post(connection: http.client.HTTPConnection, client: int, digit: int, picture: bytes) -> Answer:
    """Post a picture, and compare the answer with the digit on it."""
    started = time.perf_counter()
    pod = model = ""
    try:
        connection.request("POST", "/predict", picture, {"Content-Type": "image/png"})
        response = connection.getresponse()
        pod, body = response.headers.get("X-Pod", ""), response.read()
        failure = f"{response.status} {body[:100]!r}"
        if response.status == http.client.OK:
            answer = json.loads(body)
            model, failure = answer["model"], "" if answer["digit"] == digit else f"{answer['digit']}, not {digit}"
    except (OSError, http.client.HTTPException) as error:
        failure = repr(error)
        connection.close()
    return Answer(client, started, time.perf_counter(), pod, model, failure)
