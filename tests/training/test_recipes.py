"""A recipe survives being stored, with all that it names."""

import json
from dataclasses import asdict

import pytest

from tests.support.small_training import SMALL, vary
from training.recipes import RECIPES, Recipe, from_dict


@pytest.mark.parametrize(
    "recipe", [*RECIPES.values(), vary(teachers=("large-0", "large-1"))], ids=lambda recipe: recipe.name
)
def test_a_stored_recipe_can_be_rebuilt(recipe: Recipe) -> None:
    """A recipe can be rebuilt from what a checkpoint stores, and from the JSON of a manifest, with its teachers."""
    assert from_dict(asdict(recipe)) == recipe
    assert from_dict(json.loads(json.dumps(asdict(recipe)))) == recipe


def test_a_recipe_from_before_variants_and_teachers_can_be_rebuilt() -> None:
    """The manifest of an older model lacks these fields. Its recipe had none of either."""
    values = asdict(SMALL)
    for field in ("variants", "teachers", "drops_label_errors", "swiss"):
        del values[field]
    assert from_dict(values) == SMALL
