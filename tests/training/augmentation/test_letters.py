"""Letters are drawn from alphabets that refusal is not measured on, and are repeatable."""

import unicodedata

import torch
from torch import Generator

from training.augmentation.letters import ARMENIAN, GEORGIAN, HEBREW, LAO, draw_letters, render_letters

CPU = torch.device("cpu")


def test_no_letter_is_greek_cyrillic_or_latin() -> None:
    """Refusal is measured on capitals of these alphabets. Each letter here is of the script that its name says."""
    for script, letters in (("ARMENIAN", ARMENIAN), ("GEORGIAN", GEORGIAN), ("HEBREW", HEBREW), ("LAO", LAO)):
        assert {unicodedata.name(letter).split()[0] for letter in letters} == {script}
        assert len(set(letters)) == len(letters)


def test_letters_are_normalised_and_differ() -> None:
    """Each picture is centred ink on black, 28x28, and fonts and letters differ."""
    letters = render_letters(CPU)
    assert (letters.shape[1:], letters.dtype) == ((28, 28), torch.uint8)
    assert letters.amax(dim=(1, 2)).min() > 200
    assert letters[:, 0].max() == 0
    assert len(letters.flatten(1).unique(dim=0)) > 0.95 * len(letters) > 300


def test_only_the_generator_decides() -> None:
    """The same seed draws the same letters, and another seed others."""
    first, same, other = (draw_letters(50, Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert (first.shape, first.dtype) == ((50, 28, 28), torch.float32)
