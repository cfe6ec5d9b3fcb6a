"""First losses beside their known good ranges."""

from tinybert.doctor.first_losses import compare, read_ranges

RANGES = {"general_distill": {"attention": (0.5, 8.0), "embedding": (0.1, 2.0)}}


def test_terms_of_layers_are_means_over_them_and_one_without_range_says_so():
    # 9 summed over 3 layers is 3 a layer; the embedding has one.
    terms = {"loss": 12.0, "loss/attention": 9.0, "loss/embedding": 1.5, "loss/new": 1.5}
    (found,) = compare("general_distill", terms, 3, RANGES)
    assert found.level == "right"
    assert found.line == (
        "first losses: attention 3 (good: 0.5 to 8), embedding 1.5 (good: 0.1 to 2), "
        "new 1.5 (no known range)"
    )


def test_a_loss_outside_is_a_doubt_with_a_hint():
    _, found = compare("general_distill", {"loss/attention": 90.0}, 3, RANGES)
    assert found.level == "doubt"
    assert found.line.startswith("first attention loss 30 is above 0.5 to 8: are the layer map")
    _, found = compare("general_distill", {"loss/attention": 0.3}, 3, RANGES)
    assert "0.1 is below" in found.line


def test_the_ranges_in_the_file_are_in_order():
    for terms in read_ranges().values():
        assert all(0 <= low < high for low, high in terms.values())
