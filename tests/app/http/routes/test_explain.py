"""POST /explain over a real socket, and its maps for engines whose evidence is known."""

import base64
import io
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.http.routes.explain import wants_png
from app.imaging.digit_image import Images
from app.inference.engines import Engine, OnnxRuntimeEngine
from app.inference.model_folder import ModelFolder
from app.inference.scores import Scores
from app.recognition.explanation import ENLARGEMENT, Evidence, compute_evidence, draw_overlay, occlude
from tests.app.http.routes.test_predict import BAD, predict
from tests.support.pictures import FILES, Grey, encode, png
from tests.support.running import Server

Digits = list[tuple[int, Grey]]
Values = NDArray[np.float64]  # (28, 28)


def rank(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value. Equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse])


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation."""
    return float(np.corrcoef(rank(first), rank(second))[0, 1])


def explain(server: Server, data: bytes, query: str = "", accept: str = "application/json") -> httpx.Response:
    return httpx.post(f"{server.url}/explain{query}", files={"file": data}, headers={"Accept": accept})


@pytest.fixture(scope="module")
def fast(released: ModelFolder) -> Engine:
    return OnnxRuntimeEngine(released, "fast")


def find_evidence(engine: Callable[[Images], Scores], pixels: Grey, digit: int) -> Evidence:
    batch = occlude(pixels)
    return compute_evidence(batch, engine(batch), digit)


def rectangle(top: int, left: int, height: int, width: int, level: int = 255) -> Grey:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[top : top + height, left : left + width] = level
    return pixels


class RectangleEngine:
    """An engine that looks only at a rectangle: the more ink is in it, the more surely it is a 3."""

    def __init__(self, top: int, left: int, height: int, width: int) -> None:
        self.seen = rectangle(top, left, height, width) > 0

    def odds(self, images: Images) -> Values:
        """Log-odds of a 3: 4 nats between no ink and full ink."""
        return np.asarray(4 * images[:, self.seen].mean(axis=1) / 255 - 2)

    def __call__(self, images: Images) -> Scores:
        three = 1 / (1 + np.exp(-self.odds(images)))
        probabilities = np.repeat((1 - three)[:, None] / 9, 10, axis=1)
        probabilities[:, 3] = three
        return Scores(probabilities.astype(np.float32), np.ones(len(images), np.float32))


def pixel_by_pixel(focused: RectangleEngine, pixels: Grey) -> Values:
    """Return the evidence for a 3 as docs/explain.md defines it, computed with plain loops over patches and pixels."""
    shares: dict[tuple[int, int], list[float]] = {}
    before = focused.odds(pixels[None])[0]
    for ink, margin in ((True, 0), (False, 4)):
        for top in range(margin, 25 - margin, 2):
            for left in range(margin, 25 - margin, 2):
                places = [(y, x) for y in range(top, top + 4) for x in range(left, left + 4)]
                places = [place for place in places if (pixels[place] >= 8) == ink]
                changed = pixels.copy()
                for place in places:
                    changed[place] = 0 if ink else 255
                total = sum(abs(int(changed[place]) - int(pixels[place])) for place in places)
                loss = before - focused.odds(changed[None])[0]
                for place in places:
                    share = loss * abs(int(changed[place]) - int(pixels[place])) / total
                    shares.setdefault(place, []).append(share)
    values = np.zeros((28, 28))
    for place, found in shares.items():
        values[place] = sum(found) / len(found)
    return values


def test_each_picture_has_one_patch_removed_or_filled(seven: Grey) -> None:
    """The first picture is unchanged. In each other picture, one 4x4 patch has lost all its ink or is filled with
    ink."""
    first, *others = occlude(seven)
    assert np.array_equal(first, seven)
    assert len({other.tobytes() for other in others}) > 120
    for other in others:
        rows, columns = np.nonzero(other != seven)
        assert max(np.ptp(rows), np.ptp(columns)) < 4
        gone, filled = seven[rows, columns] >= 8, other[rows, columns] == 255
        assert gone.all() or filled.all()
        assert not other[rows, columns][gone].any()


@pytest.mark.parametrize("place", [(8, 10, 4, 4), (4, 4, 4, 6), (13, 11, 5, 4), (20, 9, 4, 8)])
def test_the_evidence_is_where_the_engine_looks(place: tuple[int, int, int, int]) -> None:
    """If an engine looks at one rectangle, ink there speaks for the digit, paper against it, and the rest does not
    matter."""
    focused = RectangleEngine(*place)
    elsewhere = rectangle(12, 20, 3, 4, level=90)
    for inside, sign in ((255, 1), (200, 1), (0, -1)):
        pixels = np.where(focused.seen, inside, elsewhere).astype(np.uint8)
        found = find_evidence(focused, pixels, 3)
        assert (sign * found.values[focused.seen] > 0).all()
        rows, columns = np.nonzero(focused.seen)
        near = rectangle(rows[0] - 3, columns[0] - 3, int(np.ptp(rows)) + 7, int(np.ptp(columns)) + 7) > 0
        assert not found.values[~near].any()  # no 4x4 patch covers these pixels and the rectangle
        assert focused.seen.ravel()[np.abs(found.values).argmax()]
        # The evidence for another digit is the opposite.
        assert (sign * find_evidence(focused, pixels, 4).values[focused.seen] < 0).all()


def test_each_pixel_has_the_mean_of_its_shares(digits: Digits) -> None:
    """For real digits, the map and its scale equal those of plain loops over patches and pixels."""
    focused = RectangleEngine(9, 0, 9, 15)  # from the edge, which is never filled, to the middle
    for _, pixels in digits[::4]:
        expected = pixel_by_pixel(focused, pixels)
        found = find_evidence(focused, pixels, 3)
        np.testing.assert_allclose(found.values * found.scale, expected, atol=1e-5)
        assert np.abs(found.values).max() == 1


def test_a_constant_engine_has_no_evidence(seven: Grey) -> None:
    """If no patch changes the answer, all values and the scale are 0, without a division by 0."""
    found = find_evidence(
        lambda images: Scores(np.full((len(images), 10), 0.1, np.float32), np.ones(1, np.float32)), seven, 7
    )
    assert not found.values.any()
    assert found.scale == 0


def test_an_engine_that_is_completely_sure_has_finite_evidence(seven: Grey) -> None:
    """Probabilities of exactly 0 and 1 do not give infinite log-odds."""

    def sure_engine(images: Images) -> Scores:
        seen = images[:, 14, 14] > 0
        return Scores(np.eye(10, dtype=np.float32)[np.where(seen, 1, 7)], np.ones(len(images), np.float32))

    for digit in (1, 7, 5):
        assert np.isfinite(find_evidence(sure_engine, seven, digit).values).all()


def test_a_digit_needs_the_ink_that_speaks_for_it(fast: Engine, digits: Digits) -> None:
    """Without the third of its ink that speaks most for it, a digit loses more probability than without any other
    third."""
    remaining: dict[str, list[float]] = {"for": [], "against": [], "random": []}
    generator = np.random.default_rng(0)
    for digit, pixels in digits:
        values = find_evidence(fast, pixels, digit).values.ravel()
        ink = np.flatnonzero(pixels)
        orders = {"for": -values[ink], "against": values[ink], "random": generator.random(len(ink))}
        for name, order in orders.items():
            changed = pixels.copy().ravel()
            changed[ink[order.argsort()[: len(ink) // 3]]] = 0
            remaining[name].append(float(fast(changed.reshape(1, 28, 28)).probabilities[0, digit]))
    loss = {name: 1 - np.mean(probabilities) for name, probabilities in remaining.items()}
    assert loss["for"] > 1.5 * loss["random"]
    assert loss["random"] > 1.5 * loss["against"]


@pytest.mark.slow
def test_the_map_depends_on_the_weights(released: ModelFolder, fast: Engine, digits: Digits) -> None:
    """The sanity check of Adebayo et al. (2018): random weights give maps that do not resemble the network's own. The
    same weights in torch, as fp32, give the same maps."""
    torch = pytest.importorskip("torch")
    from app.inference.torch_engine import TorchEngine

    trained, random = TorchEngine(released, "fast"), TorchEngine(released, "fast")
    torch.manual_seed(0)
    for module in random.network.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    correlations: dict[str, list[float]] = {"trained": [], "random": []}
    for digit, pixels in digits[::2]:
        expected = find_evidence(fast, pixels, digit).values[4:-4, 4:-4].ravel()  # paper at the edge is always 0
        for name, engine in (("trained", trained), ("random", random)):
            found = find_evidence(engine, pixels, digit).values[4:-4, 4:-4].ravel()
            correlations[name].append(rank_correlation(expected, found))
    assert np.mean(correlations["trained"]) > 0.9
    assert abs(np.mean(correlations["random"])) < 0.2


def test_an_answer_is_complete(server: Server, fast: Engine, digits: Digits) -> None:
    """It has the answer of /predict, and the fast network's evidence: 28 rows of 28 values in [-1, 1]."""
    for digit, pixels in digits[::3]:
        read = httpx.post(f"{server.url}/predict?preview=1", files={"file": png(pixels)}).json()
        body = explain(server, png(pixels)).json()
        names = ["digit", "confidence", "read", "evidence", "scale", "accepted", "reason", "preview", "input", "model"]
        assert list(body) == names
        assert body["digit"] == body["read"] == digit
        same = ("confidence", "accepted", "reason", "preview", "input", "model")
        assert {name: body[name] for name in same} == {name: read[name] for name in same}
        expected = find_evidence(fast, pixels, digit)
        np.testing.assert_allclose(body["evidence"], expected.values, atol=1e-3)
        assert np.shape(body["evidence"]) == (28, 28)
        assert np.abs(body["evidence"]).max() == 1
        assert body["scale"] == pytest.approx(expected.scale, abs=1e-4)


def test_another_digit_can_be_explained(server: Server, fast: Engine, seven: Grey) -> None:
    """With ?digit=2, a 7 gets the probability and the evidence of a 2, besides the 7 that is read and accepted."""
    body = explain(server, png(seven), "?digit=2").json()
    assert (body["digit"], body["read"], body["accepted"]) == (2, 7, True)
    assert body["confidence"] == predict(server, png(seven)).json()["probabilities"][2]
    np.testing.assert_allclose(body["evidence"], find_evidence(fast, seven, 2).values, atol=1e-3)
    of_seven = explain(server, png(seven)).json()
    assert explain(server, png(seven), "?digit=7").json() == of_seven
    assert rank_correlation(np.ravel(body["evidence"]), np.ravel(of_seven["evidence"])) < 0


@pytest.mark.parametrize("query", ["digit=10", "digit=-1", "digit=seven", "normalize=perhaps"])
def test_an_invalid_query_is_refused(server: Server, seven: Grey, query: str) -> None:
    """It gets a 400 problem that names the parameter."""
    answer = explain(server, png(seven), f"?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert query.partition("=")[0] in answer.json()["detail"]


def test_the_three_forms_get_the_same_answer(server: Server, seven: Grey) -> None:
    """A file in a form, the image as the body, and base64 in JSON give the same answer."""
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
    """Each format and mode gets a map of the 28x28 picture in the preview of /predict."""
    body = explain(server, FILES[name](seven)).json()
    preview = httpx.post(f"{server.url}/predict?preview=1", files={"file": FILES[name](seven)}).json()["preview"]
    assert (body["digit"], body["preview"]) == (7, preview)
    assert np.shape(body["evidence"]) == (28, 28)


@pytest.mark.parametrize("size", [(8, 8), (28, 29), (200, 300), (1500, 1000)])
def test_every_size_is_explained(server: Server, seven: Grey, size: tuple[int, int]) -> None:
    """Small, tall, wide and large pictures get a map of the normalised digit, whose strongest value is 1 or -1."""
    data = encode(Image.fromarray(255 - seven).resize(size, Image.Resampling.BICUBIC).convert("RGB"), "BMP")
    body = explain(server, data).json()
    assert (body["input"]["width"], body["input"]["height"]) == size
    assert np.shape(body["evidence"]) == (28, 28)
    assert np.abs(body["evidence"]).max() == 1
    never = explain(server, data, "?normalize=never").json()
    assert (never["input"]["normalized"], np.shape(never["evidence"])) == (False, (28, 28))


def test_an_uncertain_picture_gets_the_answer_of_predict(server: Server, digits: Digits) -> None:
    """If the careful network decides, digit, confidence and reason are its own."""
    refused = 0
    for (_, first), (_, second) in zip(digits, digits[5:], strict=False):
        data = png(np.maximum(first, np.rot90(second)))
        read, body = predict(server, data).json(), explain(server, data).json()
        assert (body["digit"], body["confidence"]) == (read["digit"], read["confidence"])
        assert (body["accepted"], body["reason"]) == (read["accepted"], read["reason"])
        refused += not read["accepted"]
    assert refused


def test_a_blank_picture_has_no_evidence(server: Server) -> None:
    """Nothing is read and nothing explained, whatever digit is requested. The PNG is white."""
    blank = encode(Image.new("L", (28, 28), 255))
    for query in ("", "?digit=3"):
        body = explain(server, blank, query).json()
        assert (body["digit"], body["confidence"], body["read"]) == (None, None, None)
        assert (body["evidence"], body["scale"]) == ([], None)
        assert (body["accepted"], body["reason"]) == (False, "blank")
    with Image.open(io.BytesIO(explain(server, blank, accept="image/png").content)) as drawn:
        assert drawn.getcolors() == [(280 * 280, (255, 255, 255))]


def test_a_map_can_be_a_picture(server: Server, seven: Grey) -> None:
    """Accept: image/png gives 280x280 pixels, orange where the JSON is above 0 and blue where it is below. What speaks
    against a wrong digit is below."""
    answer = explain(server, png(seven), "?digit=2", accept="image/png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["Vary"] == "Accept"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.size, image.mode, image.format) == ((280, 280), "RGB", "PNG")
        drawn = np.asarray(image).astype(int)
    colours = drawn[::ENLARGEMENT, ::ENLARGEMENT]
    assert np.array_equal(colours.repeat(ENLARGEMENT, axis=0).repeat(ENLARGEMENT, axis=1), drawn)
    values = np.array(explain(server, png(seven), "?digit=2").json()["evidence"])
    redness = colours[..., 0] - colours[..., 2]  # red less blue
    assert (values > 0.1).any()
    assert (values < -0.1).any()
    assert (redness[values > 0.1] > 0).all()
    assert (redness[values < -0.1] < 0).all()
    assert (redness[values == 0] == 0).all()
    assert colours[seven > 200].sum(axis=1).max() < colours[(seven == 0) & (np.abs(values) < 0.3)].sum(axis=1).min()


def test_full_evidence_has_full_colour() -> None:
    """On paper, 1 is orange and -1 is blue. On ink, the colours are darker."""
    values = np.zeros((28, 28))
    values[5, 5:7], values[6, 5:7] = 1, -1
    drawn = Image.open(io.BytesIO(draw_overlay(rectangle(0, 6, 28, 1), Evidence(values, 0.5))))
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
def test_the_accept_header_selects_the_format(server: Server, seven: Grey, accept: str, drawn: bool) -> None:
    """It is PNG if the header prefers it to JSON, or names it more specifically with the same quality. Otherwise it is
    JSON."""
    answer = explain(server, png(seven), accept=accept)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == ("image/png" if drawn else "application/json")
    assert wants_png(accept) is drawn


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_the_problem_of_predict(server: Server, name: str) -> None:
    """Everything that /predict refuses is refused here, with the same status and type, also if PNG is requested."""
    request, status, slug = BAD[name]
    for accept in ("application/json", "image/png"):
        headers = {"Accept": accept, **request.get("headers", {})}  # type: ignore[dict-item]  # a table of keyword arguments
        answer = httpx.post(f"{server.url}/explain", **{**request, "headers": headers})  # type: ignore[arg-type]
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["type"] == f"urn:problem-type:digitserve:{slug}"
