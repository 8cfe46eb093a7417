"""Test whether /explain tells the truth, and measure what it costs.

    python -m benchmarks.explain [--alternatives] [--sheet docs/images/explained.png]

Changes the pixels of held-out digits in the order of their evidence and tracks the probability of the digit (Petsiuk
et al. 2018), beside control orders. Randomises the layers one after the other and compares the maps (Adebayo et al.
2018). The design was chosen among the alternatives on other digits than those that the results are for.
DIGITS_DATA_DIR names the folder of MNIST.
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

from app.imaging.digit_image import IMAGE_SIZE, Grey, Images
from app.imaging.encode import to_png
from app.inference import model_folder
from app.inference.engines import Engine, OnnxRuntimeEngine
from app.inference.model_folder import ModelFolder
from app.inference.networks import build_network
from app.inference.scores import Scores
from app.inference.torch_engine import TorchEngine
from app.recognition.explanation import (
    FULL_INK,
    MARGIN,
    MIN_INK,
    PATCH,
    STRIDE,
    compute_evidence,
    draw_overlay,
    log_odds,
    occlude,
    patch_masks,
)
from app.settings import released_model
from benchmarks.data import load_held_out
from benchmarks.server_process import Process
from benchmarks.startup import wait_for_answer
from tests.support.ports import free_port

TEST_DIGITS, DESIGN_DIGITS = 500, 300  # digits that the results are for, and others that the design was chosen on
SLICE = 64  # pictures that the service lets the network read at a time
SHARES = np.linspace(0, 1, 26)  # shares of the pixels that are changed, along a curve
FILLED_PIXELS = 60  # pixels of paper that are filled at the end of a curve: about half a digit's ink
FLIPPED_PIXELS = 20  # pixels that are changed to turn a digit into its rival
SANITY_DIGITS, SEEDS = 100, 3  # digits compared with maps of random weights, and draws of the random weights
REQUESTS = 300

HEADER = f"{'':28}{'deletion':>10}{'insertion':>10}{'filling':>10}{'turned':>10}"

Map = NDArray[np.float64]  # (28, 28): the higher, the more for the digit
Method = Callable[[Grey, int], Map]


class CountingNetwork:
    """A network that counts the pictures it reads."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.pictures_read = engine, 0

    def __call__(self, images: Images) -> Scores:
        self.pictures_read += len(images)
        parts = [self.engine(images[start : start + SLICE]) for start in range(0, len(images), SLICE)]
        return Scores(np.concatenate([p.probabilities for p in parts]), np.concatenate([p.typicality for p in parts]))

    def explain(self, pixels: Grey, digit: int) -> Map:
        """Compute the map that /explain answers with."""
        batch = occlude(pixels)
        return compute_evidence(batch, self(batch), digit).values


@dataclass(frozen=True)
class Alternative:
    """A variant of the occlusion in ``app/recognition/explanation.py``. The defaults are the shipped design."""

    patch: int = PATCH
    stride: int = STRIDE
    margin: int = MARGIN
    min_ink: int = MIN_INK
    level: int = FULL_INK
    rub: bool = True
    fill: bool = True
    both_at_once: bool = False  # one patch, in which ink becomes paper and paper becomes ink
    all_ink: bool = False  # also fills pixels that are grey already
    probability: bool = False  # instead of log-odds
    shared: bool = True  # False: each pixel of a patch gets the whole loss

    def map(self, network: CountingNetwork, pixels: Grey, digit: int) -> Map:
        """Compute the map of this variant."""
        ink = pixels >= self.min_ink
        opposite = np.where(ink, 0, self.level)
        everywhere, inside = (patch_masks(margin, self.patch, self.stride) for margin in (0, self.margin))
        if self.both_at_once:
            variants = [np.where(everywhere, opposite, pixels)]
        else:
            variants = [np.where(everywhere & ink, 0, pixels)] * self.rub
            variants += [np.where(inside if self.all_ink else inside & ~ink, self.level, pixels)] * self.fill
        batch = np.concatenate(variants).astype(np.uint8)
        batch = np.concatenate([pixels[None], batch[(batch != pixels).any(axis=(1, 2))]])
        probabilities = network(batch).probabilities.astype(np.float64)
        outputs = probabilities[:, digit] if self.probability else log_odds(probabilities, digit)
        changes = np.abs(batch[1:].astype(float) - pixels).reshape(-1, IMAGE_SIZE * IMAGE_SIZE)
        losses, times = outputs[0] - outputs[1:], np.count_nonzero(changes, axis=0)
        shares = changes / changes.sum(axis=1, keepdims=True) if self.shared else (changes > 0).astype(float)
        return np.asarray(losses @ shares / np.maximum(times, 1)).reshape(IMAGE_SIZE, IMAGE_SIZE)


ALTERNATIVES = {
    "as shipped": Alternative(),
    "only rubbed out": Alternative(fill=False),
    "only filled": Alternative(rub=False),
    "both in one patch": Alternative(both_at_once=True),
    "filled over grey ink too": Alternative(all_ink=True),
    "probability, not log-odds": Alternative(probability=True),
    "losses not shared": Alternative(shared=False),
    "filled with grey, 200": Alternative(level=200),
    "any ink is ink": Alternative(min_ink=1),
    "ink from 64": Alternative(min_ink=64),
    "filled up to the edge": Alternative(margin=0),
    "filled two pixels further": Alternative(margin=2),
    "patch 2, stride 2": Alternative(patch=2),
    "patch 3, stride 2": Alternative(patch=3),
    "patch 6, stride 2": Alternative(patch=6),
    "patch 4, stride 1": Alternative(stride=1),
}


def rank_by_ink(pixels: Grey, digit: int) -> Map:
    """Rank ink by its strength and paper by its distance from ink. This needs no network."""
    return np.asarray(pixels / 255 - cv2.distanceTransform((pixels < MIN_INK).astype(np.uint8), cv2.DIST_L2, 5))


def select_highest(values: Map, candidates: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Return a mask ``(28, 28)`` of the ``count`` candidates with the highest values."""
    order = np.where(candidates, values, -np.inf).ravel().argsort(kind="stable")[::-1]
    mask = np.zeros(IMAGE_SIZE * IMAGE_SIZE, np.bool_)
    mask[order[:count]] = True
    return mask.reshape(IMAGE_SIZE, IMAGE_SIZE)


def make_curves(pixels: Grey, values: Map, anywhere: bool) -> Images:
    """Make the pictures along three curves: ink deleted, ink inserted on blank paper, paper filled with ink.

    With ``anywhere``, a control picks its pixels from ink and paper alike, so most of its changes have no effect.
    """
    ink = pixels >= MIN_INK
    ink_candidates, paper_candidates = (ink | anywhere), (~ink | anywhere)
    deleted, inserted, filled = [], [], []
    for share in SHARES:
        mask = select_highest(values, ink_candidates, round(share * np.count_nonzero(ink)))
        deleted.append(np.where(mask, 0, pixels))
        inserted.append(np.where(mask, pixels, 0))
        fill_mask = select_highest(values, paper_candidates, round(share * FILLED_PIXELS)) & ~ink
        filled.append(np.where(fill_mask, FULL_INK, pixels))
    return np.stack(deleted + inserted + filled).astype(np.uint8)


def flip_pixels(pixels: Grey, values: Map) -> Images:
    """Turn the pixels that speak most strongly against a digit into their opposites."""
    mask = select_highest(-values, np.ones_like(pixels, np.bool_), FLIPPED_PIXELS)
    return np.where(mask, np.where(pixels >= MIN_INK, 0, FULL_INK), pixels)[None].astype(np.uint8)


def measure(network: CountingNetwork, digits: Images, method: Method, anywhere: bool = False) -> str:
    """Return the mean areas under the three curves, and the share of digits that turn into their rival."""
    areas, turns = [], []
    for pixels in digits:
        ranking = network(pixels[None]).probabilities[0].argsort()
        digit, rival = int(ranking[-1]), int(ranking[-2])
        curves = network(make_curves(pixels, method(pixels, digit), anywhere)).probabilities[:, digit]
        areas.append([float(np.trapezoid(curve, SHARES)) for curve in curves.reshape(3, -1)])
        turns.append(network(flip_pixels(pixels, method(pixels, rival))).probabilities[0].argmax() == rival)
    deleted, inserted, filled = np.mean(areas, axis=0)
    return f"{deleted:>10.3f}{inserted:>10.3f}{filled:>10.3f}{np.mean(turns):>10.0%}"


def print_faithfulness(network: CountingNetwork, digits: Images) -> None:
    """Print how our maps score, beside orders that know nothing about the network."""
    print(f"{HEADER}   of {len(digits)} digits")
    print(f"{'/explain':28}" + measure(network, digits, network.explain))
    generator = np.random.default_rng(0)

    def rank_at_random(pixels: Grey, digit: int) -> Map:
        return generator.random((IMAGE_SIZE, IMAGE_SIZE))

    print(f"{'any pixels, at random':28}" + measure(network, digits, rank_at_random, anywhere=True))
    print(f"{'ink or paper, at random':28}" + measure(network, digits, rank_at_random))
    print(f"{'strong ink, paper near ink':28}" + measure(network, digits, rank_by_ink))


def print_alternatives(network: CountingNetwork, digits: Images) -> None:
    """Print the same scores for each alternative, and how many pictures the network reads for it."""
    print(f"{HEADER}{'pictures':>10}   of {len(digits)} digits")
    for name, alternative in ALTERNATIVES.items():
        counts: list[int] = []

        def method(pixels: Grey, digit: int, alternative: Alternative = alternative, counts: list[int] = counts) -> Map:
            before = network.pictures_read
            values = alternative.map(network, pixels, digit)
            counts.append(network.pictures_read - before)
            return values

        print(f"{name:28}{measure(network, digits, method)}{statistics.mean(counts):>10.0f}", flush=True)


def correlate(expected: Sequence[Map], found: Sequence[Map]) -> str:
    """Return the rank correlation of maps, signed and absolute, over the pixels that patches reach: mean ± spread."""
    cells = []
    for transform in (lambda values: values, np.abs):
        correlations = [
            spearmanr(*(transform(values)[MARGIN:-MARGIN, MARGIN:-MARGIN].ravel() for values in pair)).statistic
            for pair in zip(expected, found, strict=True)
        ]
        cells.append(f"{np.mean(correlations):>10.2f} ± {np.std(correlations):.2f}")
    return "".join(cells)


def print_sanity(model: ModelFolder, network: CountingNetwork, digits: Images) -> None:
    """Print how similar the maps stay when the network's layers are made random one by one, last layer first."""
    read = network(digits).probabilities.argmax(axis=1)

    def compute_maps(engine: Engine) -> list[Map]:
        other = CountingNetwork(engine)
        return [other.explain(pixels, int(digit)) for pixels, digit in zip(digits, read, strict=True)]

    shipped = [network.explain(pixels, int(digit)) for pixels, digit in zip(digits, read, strict=True)]
    print(f"{'':28}{'signed':>17}{'absolute':>17}   rank correlation with the shipped network's, {len(digits)} digits")
    print(f"{'same weights, torch, fp32':28}{correlate(shipped, compute_maps(TorchEngine(model, 'fast')))}")
    entry = model.manifest.networks["fast"]
    maps: dict[str, list[Map]] = {}
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        engine, fresh = TorchEngine(model, "fast"), build_network(entry.architecture, entry.config)
        layers = [name for name, _ in engine.network.named_modules() if name == "head" or name.count(".") == 1]
        names = sorted(layers, key=lambda name: (name == "head", name))[::-1]
        for name in names:
            layer = engine.network.get_submodule(name)
            if layer.state_dict():
                layer.load_state_dict(fresh.get_submodule(name).state_dict())
                maps.setdefault(name, []).extend(compute_maps(engine))
    for name, random_maps in maps.items():
        print(f"{'random from ' + name:28}{correlate(shipped * SEEDS, random_maps)}", flush=True)


def print_costs(digits: Images) -> None:
    """Print what a request costs: CPU time of the service on one core, and the time that its client waits."""
    port = free_port()
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--log-level", "error"]
    server = subprocess.Popen([*command, "--engine", "onnxruntime"])
    try:
        os.sched_setaffinity(server.pid, {0})
        wait_for_answer(port, time.perf_counter() + 60)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for accept in ("application/json", "image/png"):
            for counts in (False, True):  # the first round only warms up
                waits, before = [], cpu_seconds(server.pid)
                for index in range(REQUESTS):
                    started = time.perf_counter()
                    headers = {"Content-Type": "image/png", "Accept": accept}
                    connection.request("POST", "/explain", to_png(digits[index % len(digits)]), headers)
                    answer = connection.getresponse()
                    if answer.status != 200 or not answer.read():
                        raise SystemExit(f"the service answered {answer.status}")
                    waits.append(time.perf_counter() - started)
                cpu = (cpu_seconds(server.pid) - before) / REQUESTS
                if counts:
                    print(f"{accept}: {cpu * 1e3:.2f} ms of one core; {statistics.median(waits) * 1e3:.2f} ms, median")
    finally:
        server.terminate()
        server.wait()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    return Process.parse(Path(f"/proc/{pid}/stat").read_text()).cpu_seconds


def draw_sheet(network: CountingNetwork, golden: Sequence[tuple[int, Grey]], path: Path) -> None:
    """Draw one digit of each kind: above, the evidence for what it is read as; below, the evidence for its rival."""
    wide, high = 290, 312
    sheet = Image.new("RGB", (wide * 10, 2 * high), "white")
    pen = ImageDraw.Draw(sheet)
    for _, pixels in golden:
        ranking = network(pixels[None]).probabilities[0].argsort()[::-1]
        for row, digit in enumerate(ranking[:2].tolist()):
            batch = occlude(pixels)
            evidence = compute_evidence(batch, network(batch), digit)
            corner = (wide * int(ranking[0]), high * row)
            sheet.paste(Image.open(io.BytesIO(draw_overlay(pixels, evidence))), corner)
            caption = f"a {digit}? 1 = {evidence.scale:.2f} nats"
            pen.text((corner[0] + 4, corner[1] + 282), caption, fill="black", font_size=24)
    sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS).save(path, optimize=True)
    print(f"Wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.explain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--alternatives", action="store_true", help="only compare alternative designs")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="only draw the maps of ten digits to this file")
    arguments = parser.parse_args()
    model = model_folder.load(released_model())
    network = CountingNetwork(OnnxRuntimeEngine(model, "fast"))
    if arguments.sheet:
        draw_sheet(network, [(digit.digit, digit.image) for digit in model.manifest.golden[::2]], arguments.sheet)
        return
    torch.set_num_threads(1)
    held_out = load_held_out()
    images = held_out.images.numpy()[np.random.default_rng(0).permutation(len(held_out))]
    print(f"{model.manifest.id}, its fast network, on held-out digits")
    if arguments.alternatives:
        print_alternatives(network, images[:DESIGN_DIGITS])
        return
    digits = images[DESIGN_DIGITS : DESIGN_DIGITS + TEST_DIGITS]
    print_faithfulness(network, digits)
    print_sanity(model, network, digits[:SANITY_DIGITS])
    print_costs(digits)


if __name__ == "__main__":
    main()
