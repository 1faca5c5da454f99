"""The kit finds what is planted: for each kind components with one fault, the test that fails, and what it says."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from xcompose import testing
from xcompose.api import Component, Context, TrainingAddon
from xcompose.testing import registry_with
from xcompose.testing.contract import Contract

from . import broken_parts, broken_wholes

FAULTS = (
    ("Pattern", "short-cover", "the_cover_holds_every_pair_once", "is allowed and counts in 0 tiles"),
    ("Pattern", "early-reader", "the_last_reader_is_not_too_early", "last_reader says 2, but query 3 reads it"),
    ("Pattern", "log-sparse", "the_last_reader_is_not_too_early", "last_reader says 128, but query 256 reads it"),
    ("Pattern", "lonely", "every_option_has_a_sentence", "option 'size' has no sentence"),
    ("Pattern", "lonely", "defaults_keep_their_own_bounds", "the default 0 of 'size' is not at least 1"),
    ("Pattern", "short-cover", "its_module_imports_the_api_only", "imports xcompose.attention.reads"),
    ("Pattern", "short-cover", "there_is_a_card_with_its_blocks", "it has no Maths and no Shapes"),
    ("Score", "looks-around", "features_look_at_their_own_row_alone", "the features of a row depend on other rows"),
    ("Score", "two-kernels", "a_decoder_gives_what_an_encoder_gives_of_the_text_so_far", "causal, it is not what"),
    ("Memory", "wide-means", "slots_stay_in_their_span", "a slot uses a row outside its span"),
    ("Memory", "more-spans", "it_gives_the_slots_that_it_says", "it gives other slots than `spans` says"),
    ("Recurrence", "attached", "no_gradient_flows_into_earlier_segments", "a gradient flows into rows of an earlier"),
    ("Recurrence", "keeps-more", "decoding_equals_parallel", "keeps more than it says"),
    ("Position", "by-row", "rows_of_a_cache_are_those_of_the_whole", "look at `axis.at`"),
    ("Position", "turns-by-row", "it_turns_by_the_place_alone", "`turn` does not go by the places"),
    ("Position", "short-table", "any_length_is_answered_or_refused", "67 tokens: IndexError: index out of range"),
    ("Mixer", "sees-all", "it_sees_no_future", "mixer 'sees-all' sees the future"),
    ("Mixer", "counts-padding", "padding_changes_nothing", "padding changes what layer 0: mixer 'counts-padding'"),
    ("Ffn", "mixes-rows", "each_row_is_answered_by_itself", "what it makes of a row depends on other rows"),
    ("Ffn", "dead-weight", "a_gradient_reaches_every_parameter", "no gradient reaches unused.weight, unused.bias"),
    ("Norm", "over-time", "each_row_is_answered_by_itself", "a statistic over more than the last axis"),
    ("Norm", "cuts", "a_gradient_reaches_every_parameter", "no gradient reaches weight"),
    ("Residual", "backwards", "it_runs_every_branch_once_and_in_order", "2 branches: ran [1, 0]"),
    ("Residual", "only-first", "it_runs_every_branch_once_and_in_order", "2 branches: ran [0]"),
    ("Embedding", "short-table", "it_gives_a_row_for_each_token", "13 tokens, a table of (12, 16)"),
    ("Embedding", "noisy", "equal_seeds_give_equal_results", "evaluating embedding 'noisy' twice gives two results"),
    ("Output", "few-tokens", "it_answers_as_it_says", "13 tokens, 6 numbers; predicts_tokens = True"),
    ("Output", "one-answer", "it_answers_as_it_says", "each_row = True"),
    ("Model", "shifted", "it_sees_no_future", "the model sees the future"),
    ("Model", "forgetful", "it_says_how_large_its_state_is", "its state is not as large as it says"),
    ("Init", "new-weights", "it_changes_weights_in_place", "it puts other weights in place"),
    ("Init", "no-number", "it_starts_every_weight_with_a_number", "holds what is no number"),
    ("Addon", "leaves-out", "begun_and_finished_it_is_what_is_applied", "'scaffold.bias' is ((2,), 'torch.float32')"),
    ("Addon", "says-frozen", "what_it_freezes_is_frozen", "it says that it freezes the base"),
    ("Addon", "asks-twice", "its_loss_is_a_number_to_learn_from", "2 calls of `compute`"),
    ("Task", "random", "equal_seeds_give_equal_items_in_any_order", "an item is another one when it is asked again"),
    ("Task", "ranked", "its_loss_is_one_number_with_a_gradient", "metric = 'accuracy', `loss` gives no metric"),
    ("Task", "ranked", "what_is_held_out_is_not_trained_on", "valid 0 is an item of train, too"),
    ("Task", "ranked", "losses_of_the_model_are_added", "2.5 more in `ModelOut.losses` make 0 more"),
    ("Optimizer", "amnesia", "it_goes_on_exactly_from_its_state", "loaded from its state it goes on otherwise"),
    ("Optimizer", "decays", "a_rate_of_zero_changes_nothing", "at a learning rate of 0 it changes weights"),
    ("Schedule", "counting", "it_goes_by_the_step_alone", "asked in another order it gives other factors"),
    ("Schedule", "late", "the_first_step_learns", "step 0 of 2: 0.0"),
    ("Strategy", "remembers", "a_search_goes_on_exactly", "a search that goes on proposes something else"),
    ("Strategy", "unseeded", "equal_seeds_search_alike", "equal seeds propose other combinations"),
)
"""Kind of contract, component, test that must fail, and a piece of what it says."""


@pytest.fixture(scope="module")
def registry():
    return registry_with(components=[*broken_parts.COMPONENTS, *broken_wholes.COMPONENTS])


def refusal(contract: type[Contract], expression: str, test: str, request, registry, folder: Path) -> str:
    """What the test of a contract says of a component; empty where it says nothing."""
    one = contract()
    one._request, one.registry, one.seed = request, registry, 0
    method = getattr(one, f"test_{test}")
    given = {"tmp_path": folder} if "tmp_path" in inspect.signature(method).parameters else {}
    try:
        method(expression, **given)
    except pytest.fail.Exception as failure:
        return str(failure.msg)
    return ""


def marked(fault: tuple[str, str, str, str]):
    marks = [pytest.mark.slow] if fault[0] == "Strategy" else []
    return pytest.param(*fault, id=f"{fault[1]}-{fault[2]}", marks=marks)


@pytest.mark.parametrize(("kind", "name", "test", "said"), [marked(fault) for fault in FAULTS])
def test_a_planted_fault_is_found(kind, name, test, said, request, registry, tmp_path):
    text = refusal(getattr(testing, f"{kind}Contract"), name, test, request, registry, tmp_path)

    assert said in text
    assert "error[XC0" in text
    assert re.search(rf"{kind}Contract(-\d+)?\.xc\.yaml:", text)
    assert "= again: pytest -k " in text


class Listens(TrainingAddon):
    """It adds a half of its own to the loss."""

    def __init__(self, options: broken_parts.Plain, context: Context):
        super().__init__()

    def begin(self, lesson):
        assert lesson.task.metric

    def loss(self, batch, compute):
        loss, metrics = compute()
        return loss + 0.5, metrics


def test_an_addon_of_training_that_keeps_its_contract_passes(request, tmp_path):
    made = Component(kind="addon", name="listens", options=broken_parts.Plain, build=Listens, facts={"stage": "train"})
    known = registry_with(components=[made])

    for test in ("its_loss_is_a_number_to_learn_from", "a_spec_with_it_composes", "frozen_it_means_the_same"):
        assert refusal(testing.AddonContract, "listens", test, request, known, tmp_path) == ""


def test_each_kind_has_two_of_them():
    from xcompose.schema import KINDS

    contracts = {getattr(testing, f"{kind}Contract").kind: kind for kind in {fault[0] for fault in FAULTS}}

    assert set(contracts) == set(KINDS)
    for kind in contracts.values():
        assert len({fault[1] for fault in FAULTS if fault[0] == kind}) >= 2, kind
