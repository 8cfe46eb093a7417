"""The numbers of a large JSON tensor are the same in pieces as in one go, and other threads run in between."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import MalformedRequestError
from app.http import json_numbers, tensors
from app.http.json_numbers import split_numbers
from app.http.tensors import parse_request

NUMBERS = st.lists(st.integers(-300, 300) | st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=60)
SPACES = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut after a few numbers."""
    monkeypatch.setattr(json_numbers, "PIECE_BYTES", 16)
    monkeypatch.setattr(tensors, "LARGE_JSON_BYTES", 0)


@given(NUMBERS, SPACES)
def test_the_pieces_have_all_numbers(numbers: list[float], separators: tuple[str, str]) -> None:
    """In their order, and the rest is the same JSON without them."""
    text = json.dumps({"inputs": [{"data": numbers, "name": "images"}], "id": "x]"}, separators=separators).encode()
    split = split_numbers(text)
    assert split
    np.testing.assert_array_equal(split.numbers, np.array(numbers, np.float64))
    assert json.loads(split.rest) == {"inputs": [{"data": [], "name": "images"}], "id": "x]"}


@pytest.mark.parametrize(
    "data",
    [
        *("[]", "[ ]", '["a"]', "[[1, 2], [3, 4]]", "null", "[1, 2,]", "[1,, 2]", "[,1]", "[1 2]", "[1, true]", "[01]"),
        *('[1, "2"]', "[1, [2]]", "[1, null]", "[1, 2", "[1e999999, x]", "[" + "1, " * 40 + "]"),
    ],
)
def test_anything_else_is_parsed_in_one_go(data: str) -> None:
    """What is no flat list of numbers, or not valid, is left to the parser, whose errors say what is wrong."""
    assert split_numbers(b'{"inputs": [{"data": %b}]}' % data.encode()) is None


def test_two_lists_with_that_name_are_parsed_in_one_go() -> None:
    """Only one of them is the tensor's."""
    assert split_numbers(b'{"inputs": [{"data": [1]}], "more": {"data": [2]}}') is None


def make_request(data: object, **more: object) -> bytes:
    tensor = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": data, **more}
    return json.dumps({"inputs": [tensor]}).encode()


def test_a_request_is_parsed_as_in_one_go() -> None:
    """The picture is that of the numbers, flat or nested."""
    picture = np.arange(784).reshape(28, 28) % 256
    for data in (picture.ravel().tolist(), picture.tolist()):
        body = make_request(data)
        _, images = parse_request(body, len(body), 1)
        np.testing.assert_array_equal(images, picture[None])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (make_request([1] * 783), "must have 784 numbers"),
        (make_request([1] * 783 + [256]), "from 0 to 255"),
        (make_request([1] * 783 + [0.5]), "must be whole"),
        (make_request([1] * 783 + [float("nan")]), "from 0 to 255"),
        (make_request([1], datatype="BYTES", shape=[1]), "must be strings"),
        (b'{"inputs": [{"name": "images", "shape": [1, 784], "datatype": "UINT8"}], "data": [1]}', "either data or"),
        (b'{"inputs": [{"data": [1, 2], "name": "images"}]}', "shape"),
    ],
)
def test_a_wrong_request_gets_its_error(body: bytes, message: str) -> None:
    """The message is the one that it gets in one go."""
    with pytest.raises(MalformedRequestError, match=message):
        parse_request(body, len(body), 1)
