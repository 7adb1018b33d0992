"""What every trick keeps, and what each one changes: nothing but what it says."""

from __future__ import annotations

import pytest
from evasion_tools import CAMPAIGNS, START, WRAPPER, call, differing, log, played, surveyed

from siphonwatch.streams.lab.evasions import UnknownTrick, chosen, make, variants
from siphonwatch.streams.lab.redteam.records import KINDS, ModelCall, Record
from siphonwatch.streams.lab.redteam.survey import profile
from siphonwatch.streams.lab.redteam.trick import Origin

EVERY = [(name, format) for name, variant in variants().items() for format in sorted(variant.kind.formats)]
TEXT = {"messages", "prompt_tokens", "total_tokens"}
ADDRESS = {"metadata.requester_ip_address", "requester_ip_address"}
CLIENT = {"metadata.user_agent", "user_agent"}
KEY = {"metadata.user_api_key_hash"}
TIME = {"startTime", "endTime", "completionStartTime"}
WANTED = {"model_parameters.temperature", "model_parameters.top_p", "model_parameters.max_tokens"}
DRESS = TEXT | ADDRESS | CLIENT | WANTED | {"end_user", "metadata.user_api_key_end_user_id"}
HEADERS = "metadata.requester_custom_headers"
"""Part of a client: what it sends beside its name."""
MAY_CHANGE: dict[str, set[str]] = {
    "blend": DRESS | KEY,
    "burn": set(),
    "clocks-ahead": TIME,
    "clocks-late": TIME,
    "constant-tail": TEXT,
    "decoys": set(),
    "dummy-turns": TEXT,
    "echo-turns": TEXT,
    "frame-account": DRESS,
    "frame-group": DRESS,
    "greeting-4": TEXT,
    "greeting-16": TEXT,
    "jitter": WANTED,
    "own-pace": TIME,
    "paraphrase": TEXT,
    "personas": TEXT,
    "poison": set(),
    "rotate": ADDRESS | CLIENT,
    **{f"split-{n}": {"metadata.user_api_key_org_id"} | KEY | ADDRESS for n in (2, 4, 16, 64)},
    "warm-up": set(),
    "wrapper": TEXT,
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
        changed |= {path for path in differing(before, sent.record) if not path.startswith(HEADERS)}
    assert bool(changed) == bool(MAY_CHANGE[name])
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
    assert chosen(["own-pace+jitter"]) == ["own-pace+jitter"]
    for unknown in ("invisibility", "jitter+invisibility"):
        with pytest.raises(UnknownTrick, match=r"no evasion is named 'invisibility': there are .*jitter"):
            chosen([unknown])
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


def test_a_wrapper_keeps_the_prompt_word_for_word_between_a_text_that_is_the_same_for_a_campaign() -> None:
    around: dict[str, set[str]] = {}
    for before, sent in played("wrapper"):
        assert isinstance(before, ModelCall) and isinstance(sent.record, ModelCall)
        [prompt], [wrapped] = before.messages, sent.record.messages
        head, middle, tail = wrapped["content"].partition(prompt["content"])
        assert middle and len(head) > len(tail) > 0
        around.setdefault(sent.origin.campaign, set()).add(head + tail)
    assert len(around) > 1 and all(len(text) == 1 for text in around.values())


def test_every_so_many_prompts_a_greeting_is_really_sent_and_each_goes_on_from_the_last_one() -> None:
    had: dict[str, list[object]] = {}
    greetings = answers = 0
    for _, sent in played("greeting-4"):
        assert isinstance(sent.record, ModelCall)
        said = [message for message in sent.record.messages if message["role"] != "system"]
        if sent.role == "waste":
            greetings += 1
            had[sent.origin.account] = [*said, {"role": "assistant", "content": sent.record.reply}]
        else:
            answers += 1
            assert said[:2] == had[sent.origin.account] and len(said) == 3
    assert answers / 4 <= greetings <= answers / 4 + len(had)


def test_behind_each_prompt_stands_one_of_a_few_trivial_requests_with_the_same_parameters() -> None:
    sent = [one for _, one in played("decoys")]
    decoys = [one.record for one in sent if one.role == "waste"]
    assert len(decoys) == sum(one.role == "answer" for one in sent)
    assert all(isinstance(record, ModelCall) and record.tokens[1] <= 2 for record in decoys)
    assert len({str(record.messages[-1]) for record in decoys if isinstance(record, ModelCall)}) <= 5


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


def test_personas_rotate_and_replace_the_system_prompt_alone() -> None:
    systems: dict[str, set[str]] = {}
    for before, sent in played("personas"):
        assert isinstance(before, ModelCall) and isinstance(sent.record, ModelCall)
        assert sent.record.messages[1:] == before.messages
        systems.setdefault(sent.origin.campaign, set()).add(sent.record.system)
    assert len(systems["A-pure"]) == 24
    assert "" not in set.union(*systems.values())


@pytest.mark.parametrize("format", ["litellm", "nginx"])
def test_at_its_own_pace_each_attack_request_follows_one_honest_request_and_the_rest_is_left_out(format: str) -> None:
    survey = surveyed(format)
    kept: dict[str, list[float]] = {}
    for _, sent in played("own-pace", format):
        assert sent.arrival == sent.record.time
        kept.setdefault(sent.origin.account, []).append(sent.record.time)
    for account, times in kept.items():
        assert times == sorted(times)
        assert len(times) == len(set(times)) == survey.attacks[account], "there is room for all in this log"
    own = list(survey.honest["own"])
    followed = [max(time for time in own if time <= attack) for attack in kept["own"]]
    assert len(set(followed)) == len(followed)
    assert all(attack - time <= 40.0 for attack, time in zip(kept["own"], followed, strict=True))


def test_what_finds_no_honest_request_to_follow_is_left_out() -> None:
    survey = surveyed("litellm")
    survey.attacks["pure"] = 500
    pace = make("own-pace", survey, 1)
    sent = [
        one
        for number in range(500)
        for one in pace.rewrite(call("pure", number, attack=True, time=START), Origin("pure", "A-pure", number))
    ]
    assert len(sent) == 80, "the busiest honest account has so many requests"


@pytest.mark.parametrize("format", ["litellm", "nginx"])
def test_blending_sends_the_attack_as_the_accounts_own_honest_requests_were_sent(format: str) -> None:
    survey = surveyed(format)
    for before, sent in played("blend", format):
        assert before is not None
        own = survey.profiles.get(sent.origin.account, [])
        sent_as = profile(sent.record)
        if own:
            assert sent_as in own
        else:
            assert sent_as._replace(key="") in [
                one._replace(key="") for account in survey.bystanders() for one in survey.profiles[account]
            ]
            assert sent_as.key == before.key


def test_framing_copies_one_honest_account_or_the_members_of_one_group_and_no_key() -> None:
    survey = surveyed("litellm")
    seen: dict[str, dict[str, set[str]]] = {"frame-account": {}, "frame-group": {}}
    for name, systems in seen.items():
        for before, sent in played(name):
            assert isinstance(before, ModelCall) and isinstance(sent.record, ModelCall)
            assert sent.record.key == before.key and sent.record.account == before.account
            assert any(
                profile(sent.record)._replace(key="") == one._replace(key="")
                for account in survey.bystanders()
                for one in survey.profiles[account]
            )
            systems.setdefault(sent.origin.campaign, set()).add(sent.record.system)
        assert all(len(of) == 1 for of in systems.values())


@pytest.mark.parametrize("format", ["litellm", "nginx"])
def test_burning_puts_three_refused_requests_that_cost_no_tokens_before_each_answer(format: str) -> None:
    sent = [one for _, one in played("burn", format)]
    waste = [one.record for one in sent if one.role == "waste"]
    assert len(waste) == 3 * sum(one.role == "answer" for one in sent)
    assert {record.status for record in waste} == {429}
    assert {record.tokens for record in waste} == {(0, 0)}


@pytest.mark.parametrize(("name", "sign"), [("clocks-ahead", 1), ("clocks-late", -1)])
@pytest.mark.parametrize("format", ["litellm", "nginx"])
def test_clocks_are_wrong_by_up_to_six_hours_and_records_arrive_when_they_did(
    name: str, sign: int, format: str
) -> None:
    for before, sent in played(name, format):
        assert before is not None
        assert sent.arrival is None
        assert 0 <= sign * (sent.record.time - before.time) <= 6 * 3600


@pytest.mark.parametrize("format", ["litellm", "nginx"])
def test_warming_up_sends_honest_requests_of_every_attack_account_in_the_weeks_before(format: str) -> None:
    start = min(record.time for record, _ in log(format))
    honest = {_asked(record) for record, attack in log(format) if not attack}
    cover = [sent for before, sent in played("warm-up", format) if before is None]
    assert {sent.record.account for sent in cover} == set(CAMPAIGNS)
    assert all(sent.role == "cover" and sent.labelled for sent in cover)
    assert all(start - 22 * 86_400 < sent.record.time == sent.arrival < start for sent in cover)
    assert {_asked(sent.record) for sent in cover} <= honest


@pytest.mark.parametrize("format", ["litellm", "nginx"])
def test_poisoning_sends_attack_requests_of_accounts_without_a_label_in_the_weeks_before(format: str) -> None:
    start = min(record.time for record, _ in log(format))
    attacks = {_asked(record) for record, attack in log(format) if attack}
    known = {record.account for record, _ in log(format)}
    sent = [one for before, one in played("poison", format) if before is None]
    assert len({one.record.account for one in sent}) == 4 and not {one.record.account for one in sent} & known
    assert all(not one.labelled and one.role == "waste" and one.record.time < start for one in sent)
    assert {_asked(one.record) for one in sent} <= attacks


def test_paraphrasing_rewords_what_a_campaign_repeats_and_leaves_the_rest_word_for_word() -> None:
    wordings = set()
    for before, sent in played("paraphrase"):
        assert isinstance(before, ModelCall) and isinstance(sent.record, ModelCall)
        asked, reworded = before.messages[-1]["content"], sent.record.messages[-1]["content"]
        payload = asked.removeprefix(WRAPPER)
        assert reworded.endswith(payload)
        wordings.add(reworded.removesuffix(payload))
    assert len(wordings) > 20


def test_echoed_turns_are_the_accounts_last_prompt_and_the_answer_to_it() -> None:
    last: dict[str, list[object]] = {}
    for before, sent in played("echo-turns"):
        assert isinstance(before, ModelCall) and isinstance(sent.record, ModelCall)
        account = sent.origin.account
        assert sent.record.messages == [*last.get(account, []), *before.messages]
        last[account] = [before.messages[-1], {"role": "assistant", "content": before.reply}]


def test_two_tricks_together_change_what_each_of_them_changes_and_keep_places_and_waste_of_the_first() -> None:
    alone = [sent for _, sent in played("own-pace")]
    both = [(before, sent) for before, sent in played("own-pace+jitter")]
    assert [sent.arrival for _, sent in both] == [sent.arrival for sent in alone]
    changed = set()
    for before, sent in both:
        assert before is not None
        changed |= differing(before, sent.record)
    assert changed == TIME | WANTED
    burnt = [sent for _, sent in played("burn+jitter")]
    wanted = [sent.record.parameters.get("top_p") for sent in burnt if isinstance(sent.record, ModelCall)]
    assert [top_p is None for top_p in wanted] == [sent.role == "waste" for sent in burnt]
    with_prelude = [sent for before, sent in played("jitter+warm-up") if before is None]
    assert {sent.role for sent in with_prelude} == {"cover"}


def test_a_trick_that_does_not_know_a_format_passes_its_records_on_to_the_next() -> None:
    assert [sent.record.tree for _, sent in played("jitter+rotate", "nginx")] == [
        sent.record.tree for _, sent in played("rotate", "nginx")
    ]


def _asked(record: Record) -> object:
    """What a record asks for."""
    return str(record.messages) if isinstance(record, ModelCall) else record.tree["request"]
