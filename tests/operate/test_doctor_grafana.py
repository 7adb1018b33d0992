"""`siphonwatch doctor` says whether the Grafana that is set answers, and what to do where it does not."""

from __future__ import annotations

import pytest
from grafana_double import TOKEN, Double
from provision_tools import grafana as grafana

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.operate import doctor


def checked(double: Double, token: str = TOKEN) -> doctor.Check:
    settings = Settings()
    settings.grafana.url, settings.grafana.token, settings.grafana.timeout = double.url, token, 1.0
    return doctor.grafana(settings)


def test_a_grafana_that_answers_is_fine_and_told_where_nothing_was_made_yet(grafana: Double) -> None:
    check = checked(grafana)
    assert check.state == "ok"
    assert "nothing was made there yet: `siphonwatch provision --plan`" in check.message


@pytest.mark.parametrize("fault", [500, 403, "hang"])
def test_a_grafana_that_fails_is_told_with_a_remedy(grafana: Double, fault: int | str) -> None:
    grafana.fail = {1: fault}
    check = checked(grafana)
    assert check.state == "failed" and check.remedy
    assert grafana.url.removeprefix("http://") in check.message


def test_a_wrong_token_fails_and_is_not_shown(grafana: Double) -> None:
    check = checked(grafana, "glsa_wrong_and_secret")
    assert check.state == "failed" and "token" in check.message
    assert "glsa_wrong_and_secret" not in check.message
