"""diffusion/train/ablate.py: what is compared, and how it is shown."""

from diffusion.train.ablate import table, variants


def test_every_variant_changes_the_recipe_or_the_shape_of_the_first_but_not_both() -> None:
    first, again, *others = variants()
    assert (again.recipe, again.model) == (first.recipe, first.model) and again.seed != first.seed
    for variant in others:
        assert (variant.recipe == first.recipe) != (variant.model == first.model)
        assert variant.seed == first.seed
    assert len({variant.name for variant in variants()}) == len(variants())


def test_shapes_of_one_vocabulary_cost_about_the_same_per_row() -> None:
    first = variants()[0]
    same = [variant.compute for variant in variants() if variant.model.vocab_size == first.model.vocab_size]
    assert max(same) < 1.1 * min(same)


def test_a_token_of_a_larger_vocabulary_is_compared_by_the_byte() -> None:
    numbers = {"rows": 2_000_000, "held_out_next_token_loss": 6.0, "bytes_per_token": 3.0}
    numbers |= {"held_out_diffusion_loss": 4.0, "from_masks_loss": 4.5}
    row = {"name": "one", "parameters": 1_500_000, **numbers}
    assert table([row]).splitlines()[-1] == "| one | 1.50 | 2.00 | 6.000 | 2.000 | 4.000 | 4.500 |"
