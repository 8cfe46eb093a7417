"""Whether /explain tells the truth: its maps beside controls, what random weights make of them, and what they cost.

    python -m benchmarks.explain [--alternatives] [--sheet docs/images/explained.png]

Pixels of held-out digits are changed in the order of their evidence, and the probability of the digit is watched
(Petsiuk et al. 2018). Alternatives were chosen between on other digits than those that the figures are of. Layers are
made random one after the other, and the maps compared (Adebayo et al. 2018). DIGITS_DATA_DIR names the folder of MNIST.
"""

import argparse
import http.client
import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.stats import spearmanr

from app import bundle
from app.bundle import Bundle
from app.engine import Engine, Images, OnnxRuntimeEngine, Scores, TorchEngine
from app.explain import FULL, MARGIN, PAPER, PATCH, STRIDE, evidence, log_odds, occluded, overlay, patches
from app.network import build
from app.normalize import SIZE, Grey
from benchmarks.pictures import png
from benchmarks.serving import Process
from benchmarks.startup import first_answer, free_port
from training import data

COUNT, CHOSEN_ON = 500, 300  # digits that the figures are of, and others that alternatives were chosen on
SLICE = 64  # pictures that the service has the network read at a time
SHARES = np.linspace(0, 1, 26)  # of the pixels that are changed along a curve
FILLED = 60  # pixels of paper that are filled at the end of one, about half a digit's ink
TURNED = 20  # pixels that are changed to turn a digit into its rival
COMPARED, SEEDS = 100, 3  # digits whose maps are compared with those of random weights, and how often these are drawn
REQUESTS = 300

HEAD = f"{'':28}{'deletion':>10}{'insertion':>10}{'filling':>10}{'turned':>10}"

Map = NDArray[np.float64]  # (28, 28): the higher, the more for the digit
Method = Callable[[Grey, int], Map]


class Reader:
    """A network, which counts what it reads."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.read = engine, 0

    def __call__(self, images: Images) -> Scores:
        self.read += len(images)
        parts = [self.engine(images[start : start + SLICE]) for start in range(0, len(images), SLICE)]
        return Scores(np.concatenate([p.probabilities for p in parts]), np.concatenate([p.typicality for p in parts]))

    def explain(self, pixels: Grey, digit: int) -> Map:
        """The map that /explain answers with."""
        batch = occluded(pixels)
        return evidence(batch, self(batch), digit).values


@dataclass(frozen=True)
class Alternative:
    """Occlusion with something done otherwise than ``app/explain.py`` does it; as it is, the same."""

    patch: int = PATCH
    stride: int = STRIDE
    margin: int = MARGIN
    paper: int = PAPER
    level: int = FULL
    rub: bool = True
    fill: bool = True
    both_at_once: bool = False  # one patch in which ink becomes paper and paper ink
    all_ink: bool = False  # fills what is grey already, too
    probability: bool = False  # in place of log-odds
    shared: bool = True  # else each pixel of a patch has all of its loss

    def map(self, reader: Reader, pixels: Grey, digit: int) -> Map:
        ink = pixels >= self.paper
        opposite = np.where(ink, 0, self.level)
        everywhere, inside = (patches(margin, self.patch, self.stride) for margin in (0, self.margin))
        if self.both_at_once:
            made = [np.where(everywhere, opposite, pixels)]
        else:
            made = [np.where(everywhere & ink, 0, pixels)] * self.rub
            made += [np.where(inside if self.all_ink else inside & ~ink, self.level, pixels)] * self.fill
        batch = np.concatenate(made).astype(np.uint8)
        batch = np.concatenate([pixels[None], batch[(batch != pixels).any(axis=(1, 2))]])
        probabilities = reader(batch).probabilities.astype(np.float64)
        said = probabilities[:, digit] if self.probability else log_odds(probabilities, digit)
        changed = np.abs(batch[1:].astype(float) - pixels).reshape(-1, SIZE * SIZE)
        lost, times = said[0] - said[1:], np.count_nonzero(changed, axis=0)
        shares = changed / changed.sum(axis=1, keepdims=True) if self.shared else (changed > 0).astype(float)
        return np.asarray(lost @ shares / np.maximum(times, 1)).reshape(SIZE, SIZE)


ALTERNATIVES = {
    "as it is": Alternative(),
    "rubbed out alone": Alternative(fill=False),
    "filled alone": Alternative(rub=False),
    "both in one patch": Alternative(both_at_once=True),
    "filled over grey ink too": Alternative(all_ink=True),
    "probability, not log-odds": Alternative(probability=True),
    "losses not shared": Alternative(shared=False),
    "filled with grey, 200": Alternative(level=200),
    "any ink is ink": Alternative(paper=1),
    "ink from 64": Alternative(paper=64),
    "filled up to the edge": Alternative(margin=0),
    "filled two pixels further": Alternative(margin=2),
    "patch 2, stride 2": Alternative(patch=2),
    "patch 3, stride 2": Alternative(patch=3),
    "patch 6, stride 2": Alternative(patch=6),
    "patch 4, stride 1": Alternative(stride=1),
}


def by_ink(pixels: Grey, digit: int) -> Map:
    """Ink by its strength, and paper by how near to ink it is: what needs no network."""
    return np.asarray(pixels / 255 - cv2.distanceTransform((pixels < PAPER).astype(np.uint8), cv2.DIST_L2, 5))


def first(values: Map, among: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """The pixels ``(28, 28)`` of highest value among some, so many."""
    order = np.where(among, values, -np.inf).ravel().argsort(kind="stable")[::-1]
    chosen = np.zeros(SIZE * SIZE, np.bool_)
    chosen[order[:count]] = True
    return chosen.reshape(SIZE, SIZE)


def along(pixels: Grey, values: Map, anywhere: bool) -> Images:
    """Pictures along three curves: ink is deleted, ink is inserted on blank paper, paper is filled with ink.

    Where a control takes its pixels from ``anywhere``, ink and paper alike, most of its changes change nothing.
    """
    ink = pixels >= PAPER
    of_ink, of_paper = (ink | anywhere), (~ink | anywhere)
    deleted, inserted, filled = [], [], []
    for share in SHARES:
        taken = first(values, of_ink, round(share * np.count_nonzero(ink)))
        deleted.append(np.where(taken, 0, pixels))
        inserted.append(np.where(taken, pixels, 0))
        filled.append(np.where(first(values, of_paper, round(share * FILLED)) & ~ink, FULL, pixels))
    return np.stack(deleted + inserted + filled).astype(np.uint8)


def turned(pixels: Grey, values: Map) -> Images:
    """A picture with the pixels changed that are most against a digit."""
    chosen = first(-values, np.ones_like(pixels, np.bool_), TURNED)
    return np.where(chosen, np.where(pixels >= PAPER, 0, FULL), pixels)[None].astype(np.uint8)


def measure(reader: Reader, digits: Images, method: Method, anywhere: bool = False) -> str:
    """Areas under the three curves, mean over digits, and the share of digits that are turned into their rival."""
    areas, turns = [], []
    for pixels in digits:
        ranked = reader(pixels[None]).probabilities[0].argsort()
        read, rival = int(ranked[-1]), int(ranked[-2])
        curves = reader(along(pixels, method(pixels, read), anywhere)).probabilities[:, read]
        areas.append([float(np.trapezoid(curve, SHARES)) for curve in curves.reshape(3, -1)])
        turns.append(reader(turned(pixels, method(pixels, rival))).probabilities[0].argmax() == rival)
    deleted, inserted, filled = np.mean(areas, axis=0)
    return f"{deleted:>10.3f}{inserted:>10.3f}{filled:>10.3f}{np.mean(turns):>10.0%}"


def faithful(reader: Reader, digits: Images) -> None:
    """Print what our maps do beside orders that know nothing of the network."""
    print(f"{HEAD}   of {len(digits)} digits")
    print(f"{'/explain':28}" + measure(reader, digits, reader.explain))
    chance = np.random.default_rng(0)

    def by_chance(pixels: Grey, digit: int) -> Map:
        return chance.random((SIZE, SIZE))

    print(f"{'any pixels, by chance':28}" + measure(reader, digits, by_chance, anywhere=True))
    print(f"{'ink or paper, by chance':28}" + measure(reader, digits, by_chance))
    print(f"{'ink by strength, paper near':28}" + measure(reader, digits, by_ink))


def compare(reader: Reader, digits: Images) -> None:
    """Print the same of the alternatives, and how many pictures each has the network read."""
    print(f"{HEAD}{'pictures':>10}   of {len(digits)} digits")
    for name, alternative in ALTERNATIVES.items():
        counts: list[int] = []

        def method(pixels: Grey, digit: int, alternative: Alternative = alternative, counts: list[int] = counts) -> Map:
            before = reader.read
            found = alternative.map(reader, pixels, digit)
            counts.append(reader.read - before)
            return found

        print(f"{name:28}{measure(reader, digits, method)}{statistics.mean(counts):>10.0f}", flush=True)


def alike(expected: Sequence[Map], found: Sequence[Map]) -> str:
    """Rank correlation of maps, with their signs and without, over the pixels that patches reach; mean and spread."""
    told = []
    for change in (lambda values: values, np.abs):
        each = [
            spearmanr(*(change(values)[MARGIN:-MARGIN, MARGIN:-MARGIN].ravel() for values in pair)).statistic
            for pair in zip(expected, found, strict=True)
        ]
        told.append(f"{np.mean(each):>10.2f} ± {np.std(each):.2f}")
    return "".join(told)


def sane(model: Bundle, reader: Reader, digits: Images) -> None:
    """Print how alike maps are to those of the trained network when its layers are made random, the last ones first."""
    read = reader(digits).probabilities.argmax(axis=1)

    def maps(engine: Engine) -> list[Map]:
        other = Reader(engine)
        return [other.explain(pixels, int(digit)) for pixels, digit in zip(digits, read, strict=True)]

    shipped = [reader.explain(pixels, int(digit)) for pixels, digit in zip(digits, read, strict=True)]
    print(f"{'':28}{'signed':>17}{'absolute':>17}   rank correlation with the shipped network's, {len(digits)} digits")
    print(f"{'same weights, fp32 by torch':28}{alike(shipped, maps(TorchEngine(model, 'fast')))}")
    entry = model.manifest.networks["fast"]
    found: dict[str, list[Map]] = {}
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        engine, fresh = TorchEngine(model, "fast"), build(entry.architecture, entry.config)
        layers = [name for name, _ in engine.network.named_modules() if name == "head" or name.count(".") == 1]
        names = sorted(layers, key=lambda name: (name == "head", name))[::-1]
        for name in names:
            layer = engine.network.get_submodule(name)
            if layer.state_dict():
                layer.load_state_dict(fresh.get_submodule(name).state_dict())
                found.setdefault(name, []).extend(maps(engine))
    for name, random in found.items():
        print(f"{'random from ' + name:28}{alike(shipped * SEEDS, random)}", flush=True)


def costs(digits: Images) -> None:
    """Print what a request costs the service: its processor's time on one core, and the time that its client waits."""
    port = free_port()
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--log-level", "error"]
    server = subprocess.Popen([*command, "--engine", "onnxruntime"])
    try:
        os.sched_setaffinity(server.pid, {0})
        first_answer(port, time.perf_counter() + 60)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for accept in ("application/json", "image/png"):
            for counts in (False, True):  # a first round warms
                waits, before = [], cpu_seconds(server.pid)
                for index in range(REQUESTS):
                    started = time.perf_counter()
                    headers = {"Content-Type": "image/png", "Accept": accept}
                    connection.request("POST", "/explain", png(digits[index % len(digits)]), headers)
                    answer = connection.getresponse()
                    if answer.status != 200 or not answer.read():
                        raise SystemExit(f"the service answered {answer.status}")
                    waits.append(time.perf_counter() - started)
                taken = (cpu_seconds(server.pid) - before) / REQUESTS
                if counts:
                    print(
                        f"{accept}: {taken * 1e3:.2f} ms of one core; {statistics.median(waits) * 1e3:.2f} ms, median"
                    )
    finally:
        server.terminate()
        server.wait()


def cpu_seconds(pid: int) -> float:
    return Process.parse(Path(f"/proc/{pid}/stat").read_text()).cpu_seconds


def draw(reader: Reader, golden: Sequence[tuple[int, Grey]], path: Path) -> None:
    """Draw a digit of each kind: above, what speaks for what it is read as; below, for its rival."""
    wide, high = 290, 312
    sheet = Image.new("RGB", (wide * 10, 2 * high), "white")
    pen = ImageDraw.Draw(sheet)
    for _, pixels in golden:
        ranked = reader(pixels[None]).probabilities[0].argsort()[::-1]
        for row, digit in enumerate(ranked[:2].tolist()):
            batch = occluded(pixels)
            found = evidence(batch, reader(batch), digit)
            place = (wide * int(ranked[0]), high * row)
            sheet.paste(Image.open(io.BytesIO(overlay(pixels, found))), place)
            pen.text(
                (place[0] + 4, place[1] + 282), f"a {digit}? 1 = {found.scale:.2f} nats", fill="black", font_size=24
            )
    sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS).save(path, optimize=True)
    print(f"Wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explain", description=__doc__)
    parser.add_argument("--alternatives", action="store_true", help="compare what else was tried, and nothing more")
    parser.add_argument("--sheet", type=Path, help="draw maps of ten digits there, and nothing more")
    arguments = parser.parse_args()
    model = bundle.load(bundle.released())
    reader = Reader(OnnxRuntimeEngine(model, "fast"))
    if arguments.sheet:
        draw(reader, [(digit.digit, digit.image) for digit in model.manifest.golden[::2]], arguments.sheet)
        return
    torch.set_num_threads(1)
    _, held_out = data.hold_out(data.load(Path(os.environ.get("DIGITS_DATA_DIR", "data")), "train"), 5_000)
    images = held_out.images.numpy()[np.random.default_rng(0).permutation(len(held_out))]
    print(f"{model.manifest.id}, its fast network, on held-out digits")
    if arguments.alternatives:
        compare(reader, images[:CHOSEN_ON])
        return
    digits = images[CHOSEN_ON : CHOSEN_ON + COUNT]
    faithful(reader, digits)
    sane(model, reader, digits[:COMPARED])
    costs(digits)


if __name__ == "__main__":
    main()
