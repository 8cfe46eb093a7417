"""POST /explain over a real socket, and its maps against engines whose evidence is known."""

import base64
import io
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import spearmanr

from app.inference.model_folder import ModelFolder
from app.imaging.digit_image import Images
from app.inference.engines import Engine, OnnxRuntimeEngine
from app.inference.scores import Scores
from app.inference.torch_engine import TorchEngine
from app.recognition.explanation import ENLARGED, Evidence, evidence, occluded, overlay
from app.http.routes.explain import wants_png
from tests.support.pictures import FILES, Grey, encode, png
from tests.support.running import Server
from tests.app.http.routes.test_predict import BAD, predict

Digits = list[tuple[int, Grey]]
Values = NDArray[np.float64]  # (28, 28)


def explain(server: Server, data: bytes, query: str = "", accept: str = "application/json") -> httpx.Response:
    return httpx.post(f"{server.url}/explain{query}", files={"file": data}, headers={"Accept": accept})


@pytest.fixture(scope="module")
def fast(released: ModelFolder) -> Engine:
    return OnnxRuntimeEngine(released, "fast")


def explained(engine: Callable[[Images], Scores], pixels: Grey, digit: int) -> Evidence:
    batch = occluded(pixels)
    return evidence(batch, engine(batch), digit)


def stroke(top: int, left: int, height: int, width: int, level: int = 255) -> Grey:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[top : top + height, left : left + width] = level
    return pixels


class Planted:
    """An engine that looks at a rectangle alone: the more ink is in it, the more it is a 3, and nothing else counts."""

    def __init__(self, top: int, left: int, height: int, width: int) -> None:
        self.seen = stroke(top, left, height, width) > 0

    def odds(self, images: Images) -> Values:
        """Log-odds of a 3: 4 nats between no ink and full ink."""
        return np.asarray(4 * images[:, self.seen].mean(axis=1) / 255 - 2)

    def __call__(self, images: Images) -> Scores:
        three = 1 / (1 + np.exp(-self.odds(images)))
        probabilities = np.repeat((1 - three)[:, None] / 9, 10, axis=1)
        probabilities[:, 3] = three
        return Scores(probabilities.astype(np.float32), np.ones(len(images), np.float32))


def pixel_by_pixel(planted: Planted, pixels: Grey) -> Values:
    """The evidence for a 3 as docs/explain.md defines it, by plain loops: each patch, then each pixel in it."""
    shares: dict[tuple[int, int], list[float]] = {}
    before = planted.odds(pixels[None])[0]
    for ink, margin in ((True, 0), (False, 4)):
        for top in range(margin, 25 - margin, 2):
            for left in range(margin, 25 - margin, 2):
                places = [(y, x) for y in range(top, top + 4) for x in range(left, left + 4)]
                places = [place for place in places if (pixels[place] >= 8) == ink]
                changed = pixels.copy()
                for place in places:
                    changed[place] = 0 if ink else 255
                total = sum(abs(int(changed[place]) - int(pixels[place])) for place in places)
                loss = before - planted.odds(changed[None])[0]
                for place in places:
                    share = loss * abs(int(changed[place]) - int(pixels[place])) / total
                    shares.setdefault(place, []).append(share)
    values = np.zeros((28, 28))
    for place, found in shares.items():
        values[place] = sum(found) / len(found)
    return values


def test_a_patch_at_a_time_is_changed_into_its_opposite(seven: Grey) -> None:
    """First the picture; then in each one patch of 4x4 alone, all of its ink gone or all of its paper full."""
    first, *others = occluded(seven)
    assert np.array_equal(first, seven)
    assert len({other.tobytes() for other in others}) > 120
    for other in others:
        rows, columns = np.nonzero(other != seven)
        assert max(np.ptp(rows), np.ptp(columns)) < 4
        gone, filled = seven[rows, columns] >= 8, other[rows, columns] == 255
        assert gone.all() or filled.all()
        assert not other[rows, columns][gone].any()


@pytest.mark.parametrize("place", [(8, 10, 4, 4), (4, 4, 4, 6), (13, 11, 5, 4), (20, 9, 4, 8)])
def test_what_an_engine_looks_at_is_what_speaks_for_its_answer(place: tuple[int, int, int, int]) -> None:
    """An engine that looks at one rectangle: ink there is for the digit, paper against it, all the rest nothing."""
    planted = Planted(*place)
    elsewhere = stroke(12, 20, 3, 4, level=90)
    for inside, sign in ((255, 1), (200, 1), (0, -1)):
        pixels = np.where(planted.seen, inside, elsewhere).astype(np.uint8)
        found = explained(planted, pixels, 3)
        assert (sign * found.values[planted.seen] > 0).all()
        rows, columns = np.nonzero(planted.seen)
        near = stroke(rows[0] - 3, columns[0] - 3, int(np.ptp(rows)) + 7, int(np.ptp(columns)) + 7) > 0
        assert not found.values[~near].any()  # no patch of four covers these and it
        assert planted.seen.ravel()[np.abs(found.values).argmax()]
        # Another digit has the opposite evidence where there is one digit besides it to speak of.
        assert (sign * explained(planted, pixels, 4).values[planted.seen] < 0).all()


def test_each_pixel_has_the_mean_of_its_shares(digits: Digits) -> None:
    """On real digits, the map and its scale are what plain loops over patches and pixels give."""
    planted = Planted(9, 0, 9, 15)  # from the edge, where paper is not filled, to the middle
    for _, pixels in digits[::4]:
        expected = pixel_by_pixel(planted, pixels)
        found = explained(planted, pixels, 3)
        np.testing.assert_allclose(found.values * found.scale, expected, atol=1e-5)
        assert np.abs(found.values).max() == 1


def test_an_engine_that_sees_nothing_gives_no_evidence(seven: Grey) -> None:
    """All zeros and a scale of 0 where no patch changes the answer, and no division by it."""
    found = explained(
        lambda images: Scores(np.full((len(images), 10), 0.1, np.float32), np.ones(1, np.float32)), seven, 7
    )
    assert not found.values.any()
    assert found.scale == 0


def test_a_network_that_is_quite_sure_has_finite_evidence(seven: Grey) -> None:
    """Probabilities of 0 and 1 have log-odds, for other pictures too."""

    def sure(images: Images) -> Scores:
        seen = images[:, 14, 14] > 0
        return Scores(np.eye(10, dtype=np.float32)[np.where(seen, 1, 7)], np.ones(len(images), np.float32))

    for digit in (1, 7, 5):
        assert np.isfinite(explained(sure, seven, digit).values).all()


def test_ink_that_speaks_for_a_digit_is_what_it_needs(fast: Engine, digits: Digits) -> None:
    """Without the third of its ink that is most for it a digit is lost sooner than without any other third."""
    left: dict[str, list[float]] = {"for": [], "against": [], "by chance": []}
    chance = np.random.default_rng(0)
    for digit, pixels in digits:
        values = explained(fast, pixels, digit).values.ravel()
        ink = np.flatnonzero(pixels)
        orders = {"for": -values[ink], "against": values[ink], "by chance": chance.random(len(ink))}
        for name, order in orders.items():
            bare = pixels.copy().ravel()
            bare[ink[order.argsort()[: len(ink) // 3]]] = 0
            left[name].append(float(fast(bare.reshape(1, 28, 28)).probabilities[0, digit]))
    lost = {name: 1 - np.mean(probabilities) for name, probabilities in left.items()}
    assert lost["for"] > 2 * lost["by chance"] > 2 * lost["against"]


def test_weights_decide_the_map(released: ModelFolder, fast: Engine, digits: Digits) -> None:
    """The sanity check of Adebayo et al. (2018): random weights give maps without any likeness to the network's own,
    while the same weights, run by torch in fp32, give the same."""
    import torch

    trained, random = TorchEngine(released, "fast"), TorchEngine(released, "fast")
    torch.manual_seed(0)
    for module in random.network.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    alike: dict[str, list[float]] = {"trained": [], "random": []}
    for digit, pixels in digits[::2]:
        expected = explained(fast, pixels, digit).values[4:-4, 4:-4].ravel()  # paper at the edge is 0 in all
        for name, engine in (("trained", trained), ("random", random)):
            found = explained(engine, pixels, digit).values[4:-4, 4:-4].ravel()
            alike[name].append(float(spearmanr(expected, found).statistic))
    assert np.mean(alike["trained"]) > 0.9
    assert abs(np.mean(alike["random"])) < 0.2


def test_an_answer_has_all_that_is_promised(server: Server, fast: Engine, digits: Digits) -> None:
    """What /predict says of the digit, and the fast network's evidence for it: 28 rows of 28, in [-1, 1]."""
    for digit, pixels in digits[::3]:
        read = httpx.post(f"{server.url}/predict?preview=1", files={"file": png(pixels)}).json()
        body = explain(server, png(pixels)).json()
        names = ["digit", "confidence", "read", "evidence", "scale", "accepted", "reason", "preview", "input", "model"]
        assert list(body) == names
        assert body["digit"] == body["read"] == digit
        same = ("confidence", "accepted", "reason", "preview", "input", "model")
        assert {name: body[name] for name in same} == {name: read[name] for name in same}
        expected = explained(fast, pixels, digit)
        np.testing.assert_allclose(body["evidence"], expected.values, atol=1e-3)
        assert np.shape(body["evidence"]) == (28, 28)
        assert np.abs(body["evidence"]).max() == 1
        assert body["scale"] == pytest.approx(expected.scale, abs=1e-4)


def test_another_digit_can_be_explained(server: Server, fast: Engine, seven: Grey) -> None:
    """?digit=2 of a 7: the probability and the evidence of a 2, beside the 7 that is read and accepted."""
    body = explain(server, png(seven), "?digit=2").json()
    assert (body["digit"], body["read"], body["accepted"]) == (2, 7, True)
    assert body["confidence"] == predict(server, png(seven)).json()["probabilities"][2]
    np.testing.assert_allclose(body["evidence"], explained(fast, seven, 2).values, atol=1e-3)
    of_seven = explain(server, png(seven)).json()
    assert explain(server, png(seven), "?digit=7").json() == of_seven
    assert spearmanr(np.ravel(body["evidence"]), np.ravel(of_seven["evidence"])).statistic < 0


@pytest.mark.parametrize("query", ["digit=10", "digit=-1", "digit=seven", "normalize=perhaps"])
def test_a_query_that_is_not_known_is_told(server: Server, seven: Grey, query: str) -> None:
    """400, a problem that names the parameter."""
    answer = explain(server, png(seven), f"?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert query.partition("=")[0] in answer.json()["detail"]


def test_the_three_forms_answer_alike(server: Server, seven: Grey) -> None:
    """A form's file, the image as the body, and base64 in JSON."""
    url, data = f"{server.url}/explain", png(seven)
    answers = [
        explain(server, data),
        httpx.post(url, content=data, headers={"Content-Type": "image/png"}),
        httpx.post(url, json={"image": base64.b64encode(data).decode()}),
    ]
    assert [answer.status_code for answer in answers] == [200] * 3
    first, *rest = [answer.json() for answer in answers]
    assert all(other == first for other in rest)


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_is_explained(server: Server, name: str, seven: Grey) -> None:
    """Each format and mode has a map of the 28x28 picture that /predict's preview shows."""
    body = explain(server, FILES[name](seven)).json()
    preview = httpx.post(f"{server.url}/predict?preview=1", files={"file": FILES[name](seven)}).json()["preview"]
    assert (body["digit"], body["preview"]) == (7, preview)
    assert np.shape(body["evidence"]) == (28, 28)


@pytest.mark.parametrize("size", [(8, 8), (28, 29), (200, 300), (1500, 1000)])
def test_every_size_is_explained(server: Server, seven: Grey, size: tuple[int, int]) -> None:
    """Small, tall, wide and large pictures: the evidence is of what was cut out, and its strongest pixel is told."""
    data = encode(Image.fromarray(255 - seven).resize(size, Image.Resampling.BICUBIC).convert("RGB"), "BMP")
    body = explain(server, data).json()
    assert (body["input"]["width"], body["input"]["height"]) == size
    assert np.shape(body["evidence"]) == (28, 28)
    assert np.abs(body["evidence"]).max() == 1
    never = explain(server, data, "?normalize=never").json()
    assert (never["input"]["normalized"], np.shape(never["evidence"])) == (False, (28, 28))


def test_a_doubtful_picture_is_read_as_predict_reads_it(server: Server, digits: Digits) -> None:
    """Where the careful network has the last word, digit, confidence and reason are its own."""
    doubtful = 0
    for (_, first), (_, second) in zip(digits, digits[5:], strict=False):
        data = png(np.maximum(first, np.rot90(second)))
        read, body = predict(server, data).json(), explain(server, data).json()
        assert (body["digit"], body["confidence"]) == (read["digit"], read["confidence"])
        assert (body["accepted"], body["reason"]) == (read["accepted"], read["reason"])
        doubtful += not read["accepted"]
    assert doubtful


def test_a_blank_picture_has_no_evidence(server: Server) -> None:
    """Nothing is read and nothing explained, whatever digit is asked for; as a PNG it is white."""
    blank = encode(Image.new("L", (28, 28), 255))
    for query in ("", "?digit=3"):
        body = explain(server, blank, query).json()
        assert (body["digit"], body["confidence"], body["read"]) == (None, None, None)
        assert (body["evidence"], body["scale"]) == ([], None)
        assert (body["accepted"], body["reason"]) == (False, "blank")
    with Image.open(io.BytesIO(explain(server, blank, accept="image/png").content)) as drawn:
        assert drawn.getcolors() == [(280 * 280, (255, 255, 255))]


def test_a_map_can_be_had_as_a_picture(server: Server, seven: Grey) -> None:
    """Accept: image/png gives 280x280 in colour, ten wide a pixel: orange where the JSON is above 0, blue below."""
    answer = explain(server, png(seven), accept="image/png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["Vary"] == "Accept"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.size, image.mode, image.format) == ((280, 280), "RGB", "PNG")
        drawn = np.asarray(image).astype(int)
    one_each = drawn[::ENLARGED, ::ENLARGED]
    assert np.array_equal(one_each.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1), drawn)
    values = np.array(explain(server, png(seven)).json()["evidence"])
    warm = one_each[..., 0] - one_each[..., 2]  # red less blue
    assert (values > 0.1).any()
    assert (values < -0.1).any()
    assert (warm[values > 0.1] > 0).all()
    assert (warm[values < -0.1] < 0).all()
    assert (warm[values == 0] == 0).all()
    assert one_each[seven > 200].sum(axis=1).max() < one_each[(seven == 0) & (np.abs(values) < 0.3)].sum(axis=1).min()


def test_full_evidence_has_full_colour() -> None:
    """On paper, 1 is orange and -1 is blue; ink is a darker shade of whatever is on it."""
    values = np.zeros((28, 28))
    values[5, 5:7], values[6, 5:7] = 1, -1
    drawn = Image.open(io.BytesIO(overlay(stroke(0, 6, 28, 1), Evidence(values, 0.5))))
    assert [drawn.getpixel((x, y)) for y in (59, 69) for x in (59, 69)] == [
        (230, 97, 0),
        (172, 73, 0),
        (0, 90, 181),
        (0, 68, 136),
    ]
    assert drawn.getpixel((49, 59)) == (255, 255, 255)
    assert drawn.getpixel((69, 89)) == (115, 115, 115)


@pytest.mark.parametrize(
    ("accept", "drawn"),
    [
        ("image/png", True),
        ("IMAGE/PNG", True),
        ("image/*", True),
        ("image/png, */*", True),
        ("image/avif,image/webp,image/png,image/*;q=0.8,*/*;q=0.5", True),
        ("application/json;q=0.5, image/png", True),
        ("application/json, image/png", False),
        ("image/png;q=0.2, application/json;q=0.3", False),
        ("image/png;q=0", False),
        ("image/png;q=0, */*;q=0", False),
        ("image/png;q=seven", False),
        ("*/*", False),
        ("text/html", False),
        (",;/", False),
        ("", False),
    ],
)
def test_accept_chooses(server: Server, seven: Grey, accept: str, drawn: bool) -> None:
    """PNG where the header likes it better than JSON, or as well and by a closer name; JSON in every other case."""
    answer = explain(server, png(seven), accept=accept)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == ("image/png" if drawn else "application/json")
    assert wants_png(accept) is drawn


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_the_problem_that_predict_gives(server: Server, name: str) -> None:
    """Every way to be refused by /predict is one here, with the same status and type, for PNG too."""
    request, status, slug = BAD[name]
    for accept in ("application/json", "image/png"):
        headers = {"Accept": accept, **request.get("headers", {})}  # type: ignore[dict-item]  # a table of keyword arguments
        answer = httpx.post(f"{server.url}/explain", **{**request, "headers": headers})  # type: ignore[arg-type]
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["type"] == f"urn:problem-type:digitserve:{slug}"
