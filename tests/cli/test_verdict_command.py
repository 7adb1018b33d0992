"""`siphonwatch verdict` sends what an analyst decides, and `alerts --by-rank` orders what is open by it."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import msgspec
import pytest
from alert_samples import fill, findings, send
from click.testing import CliRunner, Result
from rich.console import Console

from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.learn.ranker_features import facts_of
from siphonwatch.models.learn.verdict_book import DECISIONS
from siphonwatch.streams.cli import cli
from siphonwatch.streams.cli import verdict as verdict_command
from siphonwatch.streams.cli.triage import TriageTable, in_order, judged
from siphonwatch.streams.cli.verdict import of_all, precision
from siphonwatch.streams.cli.verdict_file import DELIMITERS
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import encode, to_alert
from siphonwatch.streams.contracts.verdict import Verdict, decode, judge
from siphonwatch.streams.deliver.alert import read
from siphonwatch.streams.edge.producer import connect


def run(settings: Settings, *arguments: str, command: str = "verdict") -> Result:
    environment = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        "SIPHONWATCH_IDENTITY_KEY": "a secret of the tests only",
    }
    return CliRunner().invoke(cli, [command, *arguments], env=environment)


def listed(settings: Settings) -> list[tuple[str, str, str, str]]:
    result = run(settings, "--list", "--json")
    assert result.exit_code == 0, result.output
    verdicts = map(decode, result.stdout_bytes.splitlines())
    return [(verdict.case, verdict.decision, verdict.note, verdict.by) for verdict in verdicts]


def closed(found: Finding) -> Finding:
    return replaced(found, kind="close", sequence=found.sequence + 1, time=found.time + 86_400.0)


def replaced(finding: Finding, **changes: object) -> Finding:
    return msgspec.structs.replace(finding, **changes)


def test_a_verdict_after_an_erasure_does_not_write_the_name_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (judge(to_alert(one), "true-positive", by="Ann", time=1.0) for one in findings(2))
    sent: list[Verdict] = []
    monkeypatch.setattr(verdict_command, "recorded", lambda _: iter([msgspec.structs.replace(first, account="erased")]))
    monkeypatch.setattr(verdict_command, "find", lambda *_: [first, second])
    monkeypatch.setattr(verdict_command, "send", lambda _, verdicts: sent.extend(verdicts))
    assert run(Settings(), first.case, "true-positive").exit_code == 0
    assert [one.account for one in sent] == ["erased", second.account] and second.account != "erased"


def test_a_verdict_repeats_the_newest_alert_of_its_case_and_the_last_one_stands(settings: Settings) -> None:
    found = findings(3)
    newer = replaced(found[0], kind="update", sequence=1, log_e=20.0)
    fill(settings, [*found, newer, closed(found[1])], junk=b'{"no": "alert"}')
    result = run(settings, found[0].case, "true-positive", "--note", "asked: Bob", "--by", "Ann")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{found[0].case} extraction: true-positive, by Ann\n"
    assert run(settings, found[1].case[:8].upper(), "false-positive", "--by", "Ann").exit_code == 0
    again = run(settings, found[0].case, "be", "--by", "Eve")
    assert again.exit_code == 0
    said = f"{found[0].case} extraction: benign-expected, by Eve (replaces true-positive, by Ann, 20"
    assert again.stdout.startswith(said), "a second verdict says what it replaces"
    assert listed(settings) == [
        (found[1].case, "false-positive", "", "Ann"),
        (found[0].case, "benign-expected", "", "Eve"),
    ]
    second, first = map(decode, run(settings, "--list", "--json").stdout_bytes.splitlines())
    assert (first.alert, first.facts) == (newer.id, facts_of(newer))
    assert (second.alert, second.facts) == (found[1].id, facts_of(found[1])), "a closing repeats what was known"
    table = run(settings, "--list")
    assert table.exit_code == 0 and "benign-expected" in table.stdout and "Eve" in table.stdout


def test_a_duplicate_names_the_case_that_it_is_one_of(settings: Settings, tmp_path: Path) -> None:
    first, second, third = findings(3)
    fill(settings, [first, second, third])
    result = run(settings, second.case, "duplicate", "--of", first.case[:8], "--by", "Ann")
    assert result.exit_code == 0, result.output
    file = tmp_path / "verdicts.csv"
    file.write_text(f"case,decision,of\n{third.case},dup,{second.case}\n{first.case},insufficient data,\n")
    assert run(settings, "--file", str(file), "--by", "Ann").exit_code == 0
    found = [decode(line) for line in run(settings, "--list", "--json").stdout_bytes.splitlines()]
    assert [(one.case, one.decision, one.of) for one in found] == [
        (second.case, "duplicate", first.case), (third.case, "duplicate", second.case),
        (first.case, "insufficient", ""),
    ]  # fmt: skip
    own = run(settings, second.case, "duplicate", "--of", second.case)
    assert own.exit_code == 1 and "points to another case" in own.stderr
    unknown = run(settings, second.case, "duplicate", "--of", "ffffffff")
    assert unknown.exit_code == 1 and "no alert of case ffffffff" in unknown.stderr


def test_precision_is_of_the_cases_that_were_decided_by_pattern() -> None:
    alerts = [read(encode(to_alert(one)), 0.0).event for one in findings(6)] + [
        read(encode(to_alert(one)), 0.0).event for one in findings(2, "shift")
    ]
    decisions = ["true-positive"] * 3 + ["false-positive", "benign-expected", "suspicious", "test", "duplicate"]
    verdicts = [judge(a, d, by="Ann", time=1.8e9) for a, d in zip(alerts, decisions, strict=True)]  # type: ignore[arg-type]
    (line,) = precision(verdicts)
    assert line.startswith("extraction: 3 of 5 confirmed, 60% (") and "at 95 % however often you look" in line


def test_the_share_of_all_cases_is_estimated_where_every_third_has_verdicts_and_said_why_not_where_none() -> None:
    found = [
        msgspec.structs.replace(one, log_e=7.0 + 0.2 * i, card=("aaaa", "bbbb")[i == 0])
        for i, one in enumerate(findings(60))
    ]
    alerts = [read(encode(to_alert(one)), 0.0).event for one in found]
    verdicts = [judge(a, ("true-positive", "false-positive")[i % 4 == 0], by="Ann", time=1.8e9) for i, a in
                enumerate(alerts[::2])]  # fmt: skip
    head, pattern, first, second = of_all(verdicts, alerts)
    assert "judged or not" in head and "at one look" in head
    low, high = (int(share) for share in re.findall(r"(\d+)%", pattern)[1:])
    assert pattern.startswith("  extraction: ") and pattern.endswith("; 30 of 60 judged)") and 50 < low < 73 < high < 90
    assert first.startswith("    card bbbb: of the third that ranks ")
    assert first.endswith(" 0 are judged, 6 are needed (1 of 1 judged)")
    assert second.startswith("    card aaaa: ") and "29 of 59 judged" in second
    (_, few) = of_all(verdicts[-12:], [one for one in alerts if one.own.card == "aaaa"])
    assert "third that ranks lowest" in few and "(12 of 59 judged)" in few
    tests = [msgspec.structs.replace(one, decision="test") for one in verdicts[1:]]
    assert "(1 of 31 judged)" in of_all([verdicts[0], *tests], alerts)[1]
    assert of_all(tests, alerts) == []


def test_precision_is_by_card_too_where_a_pattern_has_had_more_than_one() -> None:
    cards = ["", "aaaa", "bbbb", "aaaa", "bbbb", "bbbb", "bbbb", "cccc", "cccc"]
    found = [
        msgspec.structs.replace(one, card=card)
        for one, card in zip(findings(7) + findings(2, "shift"), cards, strict=True)
    ]
    alerts = [read(encode(to_alert(one)), 0.0).event for one in found]
    decisions = ["true-positive"] * 5 + ["false-positive", "suspicious"] + ["true-positive"] * 2
    verdicts = [judge(a, d, by="Ann", time=1.8e9) for a, d in zip(alerts, decisions, strict=True)]  # type: ignore[arg-type]
    assert [one.card for one in verdicts] == cards
    lines = [line.split(" confirmed")[0] for line in precision(verdicts)]
    assert lines == [
        "extraction: 5 of 6", "  card not recorded: 1 of 1", "  card aaaa: 2 of 2", "  card bbbb: 2 of 3",
        "shift: 2 of 2",
    ]  # fmt: skip


def test_a_file_gives_many_and_nothing_is_sent_where_one_is_wrong(settings: Settings, tmp_path: Path) -> None:
    found = findings(4)
    fill(settings, found)
    file = tmp_path / "verdicts.csv"
    expected = [(one.case, DECISIONS[i % 3], f"because {i}", "Ann") for i, one in enumerate(found)]
    rows = [f"{case},{decision},{note},T-1\n" for case, decision, note, _ in expected]
    file.write_text("\ufeffcase,decision,note,ticket\n" + "".join(rows))
    result = run(settings, "--file", str(file), "--by", "Ann")
    assert result.exit_code == 0, result.output
    assert listed(settings) == expected
    real = found[0].case
    for broken, errors in {
        "case,decision\nabc,maybe\n,TP\n": ["line 2: 'maybe' is no decision: true-positive", "line 3: no case"],
        f"case,decision\n{real},FP\n0123456789,FP\nacme,FP\n": [
            "line 3: no alert of case 0123456789", "line 4: 'acme' is no case"],
        "case,decision\n": ["holds no verdict"],
        "": ["line 1 names no column case and no decision, but nothing"],
        "id;decision\n1;2\n": ["line 1 names no column case, but 'id', 'decision'"],
        f'case,decision,note\n{real},TP,"two\nlines"\n{real},no,\n': ["line 4: 'no' is no decision"],
        f'case,decision,note\n{real},TP,"open\n': ["line 2: unexpected end"],
        "case,decision\n" + "x,y\n" * 30: ["line 2: 'y'", "line 21: 'y'", "and 10 more"],
    }.items():  # fmt: skip
        file.write_text(broken)
        result = run(settings, "--file", str(file))
        assert result.exit_code == 1 and "nothing was sent" in result.stderr, result.output
        assert all(named in result.stderr for named in errors), result.output
    file.write_bytes("case;decision\n".encode("utf-16"))
    result = run(settings, "--file", str(file))
    assert result.exit_code == 1 and "no text in UTF-8" in result.stderr, result.output
    assert listed(settings) == expected


@pytest.mark.parametrize("separator", list(DELIMITERS))
def test_files_of_spreadsheets_and_case_tools_are_understood(
    settings: Settings, tmp_path: Path, separator: str
) -> None:
    found = findings(4)
    fill(settings, found)
    words = ("TP", "False Positive", "BenignExpected", "true_positive")
    lines = [
        ["Ticket", "Decision ", "CASE"],
        *(["T-1", said, one.case] for said, one in zip(words, found, strict=True)),
    ]
    file = tmp_path / "verdicts.csv"
    file.write_text("\r\n".join(separator.join(line) for line in lines) + "\r\n\r\n")
    result = run(settings, "--file", str(file), "--by", "Ann")
    assert result.exit_code == 0, result.output
    decisions = [decision for _, decision, *_ in listed(settings)]
    assert decisions == ["true-positive", "false-positive", "benign-expected", "true-positive"]


def test_two_verdicts_on_one_case_in_a_file_are_said_and_the_last_one_stands(
    settings: Settings, tmp_path: Path
) -> None:
    (found,) = findings(1)
    fill(settings, [found])
    file = tmp_path / "verdicts.csv"
    file.write_text(f"case,decision\n{found.case},TP\n{found.case[:8]},FP\n")
    result = run(settings, "--file", str(file), "--by", "Ann")
    assert result.exit_code == 0, result.output
    assert f"case {found.case} stands in lines 2, 3: the last one counts" in result.stderr
    assert "false-positive, by Ann (replaces true-positive, by Ann" in result.stdout.splitlines()[1]
    assert [decision for _, decision, *_ in listed(settings)] == ["false-positive"]


def test_undo_goes_back_one_verdict_after_the_other_and_history_keeps_them_all(settings: Settings) -> None:
    found = findings(2)
    fill(settings, found)
    case = found[0].case
    for decision, by in (("true-positive", "Ann"), ("false-positive", "Bob")):
        assert run(settings, case, decision, "--by", by).exit_code == 0
    assert run(settings, found[1].case, "TP", "--by", "Ann").exit_code == 0
    back = run(settings, case[:8], "--undo", "--by", "Eve")
    assert back.exit_code == 0 and "true-positive, by Ann (replaces false-positive, by Bob" in back.stdout
    assert (case, "true-positive", "", "Ann") in listed(settings)
    none = run(settings, case, "--undo", "--by", "Eve")
    assert none.exit_code == 0 and "withdrawn, by Eve (replaces true-positive, by Ann" in none.stdout
    assert [one for one, *_ in listed(settings)] == [found[1].case]
    refused = run(settings, case, "--undo")
    assert refused.exit_code == 1 and f"case {case} has no verdict" in refused.stderr
    history = run(settings, "--history", case[:8], "--json")
    assert [decode(line).decision for line in history.stdout_bytes.splitlines()] == [
        "true-positive", "false-positive", "true-positive", "withdrawn",
    ]  # fmt: skip
    assert len(run(settings, "--history", "--json").stdout.splitlines()) == 5
    table = run(settings, "--history", case)
    assert table.exit_code == 0 and "withdrawn" in table.stdout and "Bob" in table.stdout
    assert "no verdicts on ffffff" in run(settings, "--history", "ffffff").stderr


def test_a_case_that_is_unknown_or_not_only_one_is_refused_by_name(settings: Settings) -> None:
    found = findings(2)
    twins = [replaced(found[0], case="abcdef0000000000"), replaced(found[1], case="abcdef1111111111")]
    fill(settings, twins)
    for case, named in {
        "ffffffffff": "no alert of case ffffffffff is on the alerts topic",
        "abcdef": "abcdef could be abcdef0000000000, abcdef1111111111: give more",
        "acme": "'acme' is no case: give 6 to 16 hexadecimal digits",
    }.items():
        result = run(settings, case, "true-positive")
        assert result.exit_code == 1 and named in result.stderr, result.output
    assert run(settings, "abcdef1", "true-positive").exit_code == 0
    assert [case for case, *_ in listed(settings)] == ["abcdef1111111111"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "give a CASE with a decision or --undo, or --file, --list or --history"),
        (("--undo",), "give a CASE with a decision or --undo"),
        (("abcdef", "--undo", "--history"), "give a CASE with a decision or --undo"),
        (("abcdef", "--list"), "give a CASE with a decision or --undo"),
        (("abcdef",), "say what abcdef was: one of true-positive"),
        (("abcdef", "maybe"), "benign-expected"),
        (("abcdef", "TP", "--of", "abcdef0"), "--of goes with the decision duplicate"),
        (("abcdef", "true-positive", "--list"), "give a CASE with a decision or --undo"),
        (("abcdef", "true-positive", "--json"), "--json goes with --list and --history"),
        (("--file", "no-such-file.csv"), "no-such-file.csv"),
    ],
)
def test_bad_usage_is_exit_code_2_and_says_what_would_do(arguments: tuple[str, ...], named: str) -> None:
    result = CliRunner().invoke(cli, ["verdict", *arguments])
    assert result.exit_code == 2
    assert named in result.stderr


def test_a_note_that_is_too_long_is_refused_before_anything_is_sent(settings: Settings) -> None:
    (found,) = findings(1)
    fill(settings, [found])
    result = run(settings, found.case, "true-positive", "--note", "x" * 2001)
    assert result.exit_code == 1 and "2000" in result.stderr, result.output
    assert listed(settings) == []


def test_a_missing_topic_is_named_with_its_remedy(settings: Settings) -> None:
    for arguments in (("--list",), ("abcdef", "true-positive")):
        result = run(settings, *arguments)
        assert result.exit_code == 1 and "siphonwatch topics --create" in result.stderr


def ranked(settings: Settings, *arguments: str) -> list[str]:
    result = run(settings, "--by-rank", "--json", *arguments, command="alerts")
    assert result.exit_code == 0, result.output
    return [json.loads(line)["id"] for line in result.stdout.splitlines()]


def test_open_cases_stand_by_rank_and_verdicts_reorder_them_at_once(settings: Settings) -> None:
    weak, strong = findings(3, "shift", 7.0), findings(3, "extraction", 60.0)
    update = replaced(strong[1], kind="update", sequence=1, log_e=90.0)
    fill(settings, [*weak, *strong, update, closed(weak[2])], junk=b"{}")
    by_evidence = [update.id, *sorted(one.id for one in (strong[0], strong[2])), *sorted(one.id for one in weak[:2])]
    assert ranked(settings) == by_evidence
    assert ranked(settings, "--limit", "1") == [update.id]
    assert ranked(settings, "--pattern", "shift") == by_evidence[3:]
    for one, decision in ((weak[0], "true-positive"), (strong[0], "false-positive"), (strong[2], "false-positive")):
        assert run(settings, one.case, decision).exit_code == 0
    assert set(ranked(settings)[:2]) == {weak[0].id, weak[1].id}, "what looks like what was confirmed comes first"
    assert sorted(ranked(settings)) == sorted(by_evidence), "and nothing is hidden"
    printed = [json.loads(line) for line in run(settings, "--by-rank", "--json", command="alerts").stdout.splitlines()]
    ranks = [alert["rank"] for alert in printed]
    assert ranks == sorted(ranks, reverse=True) and len(set(ranks)) > 2
    verdicts = {alert["subject"]: alert["verdict"] for alert in printed}
    assert verdicts[weak[0].case] == "true-positive" and verdicts[weak[1].case] == ""
    table = run(settings, "--by-rank", "--table", command="alerts")
    assert table.exit_code == 0, table.output
    assert "open for" in table.stdout
    for text in ("rank", "false-positive", weak[1].case, "org-shift-1", "sweep_1d 0.94 (above 0.35)", "shift"):
        assert text in table.stdout
    assert "breadth" not in table.stdout and "records on the topic are no alerts" in table.stderr


@pytest.mark.parametrize("width", [72, 80, 120, 160])
def test_the_order_fits_the_screen(width: int) -> None:
    alerts = [read(encode(to_alert(one)), 0.0) for one in findings(2, "desensitisation", 9.0)]
    now = judged([judge(alerts[0].event, "benign-expected", by="Ann", time=1.8e9)])
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(TriageTable(in_order(alerts, now), 1.8e9))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.replace("│", " ").split())
    for word in ("desensitisation", "medium", "org-desensitisation-", "8.1e+03", "benign-expected", "sweep_1d 0.94"):
        assert word in flat


def test_without_cases_by_rank_says_so_and_it_does_not_follow(settings: Settings) -> None:
    fill(settings, [])
    result = run(settings, "--by-rank", command="alerts")
    assert result.exit_code == 0 and "no open cases" in result.stderr
    assert run(settings, "--by-rank", "--follow", command="alerts").exit_code == 2


def test_what_is_no_verdict_on_the_topic_is_counted_and_left_out(settings: Settings) -> None:
    found = findings(1)
    fill(settings, found)
    producer = connect(settings, "tests")
    producer.send(settings.topic("verdicts"), key=b"k", value=b'{"note": "private words"}')
    producer.close(10)
    assert run(settings, found[0].case, "true-positive", "--by", "Ann").exit_code == 0
    result = run(settings, "--list", "--json")
    assert len(result.stdout.splitlines()) == 1
    assert "1 records on the topic are no verdicts of ours" in result.stderr and "private" not in result.output
    send(settings, found)  # the same alert again is the same case
    assert len(ranked(settings)) == 1
