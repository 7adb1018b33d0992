"""What every trick keeps, and what each one changes: nothing but what it says."""

from __future__ import annotations

import pytest
from evasion_tools import CAMPAIGNS, differing, log, played, surveyed

from siphonwatch.streams.lab.evasions import UnknownTrick, chosen, make, variants
from siphonwatch.streams.lab.redteam.records import KINDS, ModelCall

EVERY = [(name, format) for name, variant in variants().items() for format in sorted(variant.kind.formats)]
TEXT = {"messages", "prompt_tokens", "total_tokens"}
ADDRESS = {"metadata.requester_ip_address", "requester_ip_address"}
MAY_CHANGE = {
    "constant-tail": TEXT,
    "dummy-turns": TEXT,
    "jitter": {"model_parameters.temperature", "model_parameters.top_p", "model_parameters.max_tokens"},
    **{f"split-{n}": {"metadata.user_api_key_org_id", "metadata.user_api_key_hash"} | ADDRESS for n in (2, 4, 16, 64)},
}
"""Fields of an answer that a trick may change."""


def test_every_trick_is_held_to_what_it_may_change() -> None:
    assert set(MAY_CHANGE) == set(variants())


@pytest.mark.parametrize(("name", "format"), EVERY)
def test_the_same_seed_gives_the_same_records_and_another_seed_is_free_to_differ(name: str, format: str) -> None:
    first, again = (
        [(sent.record.tree, sent.origin, sent.role, sent.arrival) for _, sent in played(name, format)] for _ in range(2)
    )
    assert first == again
    assert played(name, format, seed=2)


@pytest.mark.parametrize(("name", "format"), EVERY)
def test_every_record_is_still_one_of_its_format_and_has_an_id_of_its_own(name: str, format: str) -> None:
    sent = [sent for _, sent in played(name, format)]
    assert all(type(one.record) is KINDS[format] for one in sent)
    ids = [one.record.id for one in sent]
    assert len(set(ids)) == len(ids)
    assert all(one.record.account and one.record.time > 0 for one in sent)
    assert all(one.origin.campaign == CAMPAIGNS[one.origin.account] for one in sent)


@pytest.mark.parametrize("name", variants())
def test_an_answer_keeps_its_id_and_differs_only_where_the_trick_says(name: str) -> None:
    answers = [(before, sent) for before, sent in played(name) if sent.role == "answer"]
    assert answers
    changed: set[str] = set()
    for before, sent in answers:
        assert before is not None
        assert sent.record.id == before.id
        changed |= differing(before, sent.record)
    assert changed
    assert changed <= MAY_CHANGE[name]


@pytest.mark.parametrize(("name", "format"), EVERY)
def test_no_attack_request_is_sent_twice_as_an_answer(name: str, format: str) -> None:
    asked = [before.id for before, sent in played(name, format) if sent.role == "answer" and before is not None]
    assert len(asked) == len(set(asked)) <= sum(attack for _, attack in log(format))


@pytest.mark.parametrize("name", variants())
def test_every_trick_says_what_the_attacker_does_and_what_it_costs(name: str) -> None:
    assert variants()[name].says.endswith(".")
    assert "Costs" in (variants()[name].kind.__doc__ or "")


def test_a_name_stands_for_a_variant_or_all_of_a_trick_and_an_unknown_one_is_refused_with_the_known_ones() -> None:
    assert chosen(["split-4"]) == ["split-4"]
    assert chosen(["split"]) == ["split-2", "split-4", "split-16", "split-64"]
    assert chosen([]) == list(variants())
    with pytest.raises(UnknownTrick, match=r"no evasion is named 'invisibility': there are .*jitter"):
        chosen(["invisibility"])
    with pytest.raises(UnknownTrick):
        make("invisibility", surveyed("litellm"), 1)


@pytest.mark.parametrize("name", ["dummy-turns", "constant-tail"])
def test_the_prompt_stays_word_for_word_and_what_is_put_around_it_is_the_same_for_a_campaign(name: str) -> None:
    around: dict[str, set[str]] = {}
    for before, sent in played(name):
        assert isinstance(before, ModelCall) and isinstance(sent.record, ModelCall)
        [prompt] = before.messages
        assert prompt in sent.record.messages
        rest = [message for message in sent.record.messages if message != prompt]
        around.setdefault(sent.origin.campaign, set()).add(str(rest))
        assert sent.record.tokens[0] > before.tokens[0]
        assert sent.record.tokens[1] == before.tokens[1]
    assert all(len(said) == 1 for said in around.values())


def test_jitter_draws_three_parameters_a_request_and_never_cuts_an_answer_shorter() -> None:
    drawn = set()
    for before, sent in played("jitter"):
        assert isinstance(sent.record, ModelCall) and isinstance(before, ModelCall)
        wanted = sent.record.parameters
        drawn.add((wanted["temperature"], wanted["top_p"], wanted["max_tokens"]))
        assert wanted["max_tokens"] >= before.parameters["max_tokens"] and wanted["max_tokens"] > before.tokens[1]
    assert len(drawn) == sum(attack for _, attack in log("litellm"))


@pytest.mark.parametrize("format", ["litellm", "nginx"])
def test_split_deals_a_campaign_out_over_so_many_accounts_each_with_a_key_of_its_own(format: str) -> None:
    members: dict[str, set[str]] = {}
    keys: dict[str, set[str]] = {}
    for _, sent in played("split-4", format):
        members.setdefault(sent.origin.campaign, set()).add(sent.record.account)
        keys.setdefault(sent.record.account, set()).add(sent.record.key)
    assert {campaign: len(of) for campaign, of in members.items()} == {"A-own": 4, "A-pure": 4, "B-pair": 4}
    assert all(len(of) == 1 for of in keys.values())
    assert len(set.union(*keys.values())) == len(keys)
