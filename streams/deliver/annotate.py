"""Alerts and model promotions as Grafana annotations, each posted once; it changes no annotation of others."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from siphonwatch.streams.common.grafana import Connection
from siphonwatch.streams.contracts.alert import KIND_OF, Alert

TAG_OF = {kind: word for word, kind in KIND_OF.items()}
"""The tag that an alert's kind becomes."""


class Annotator:
    """Posts annotations; dashboards show those tagged `siphonwatch` with `alert` or `promotion`.

    An annotation carries the tag `id:<id>`, which is looked for first, so that telling it again adds nothing.

    Parameters
    ----------
    connection
        From `siphonwatch.streams.common.grafana.connect`. Calls block: keep them out of an event loop.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def alert(self, alert: Alert) -> bool:
        """Post an alert at its event time; where it closes a case, the case's annotation becomes a region.

        Parameters
        ----------
        alert
            The CloudEvent, as on the alerts topic.

        Returns
        -------
        bool
            False when it was there already.

        Raises
        ------
        GrafanaError
            When Grafana does not take it; `passing` says whether to try again.
        """
        data, own, kind = alert.data, alert.own, TAG_OF[alert.kind]
        mark, case = f"id:{alert.id}", f"case:{own.case}"
        if self._find(mark):
            return False
        tags = ["siphonwatch", "alert", own.pattern, data.severity.lower(), kind, case, mark]
        text = f"{data.message}\ncase {own.case}, runbook: {own.runbook}"
        if kind != "close":
            self._post(f"post alert {alert.id}", data.time, None, tags, text)
            return True
        opened = self._find("alert", "open", case)
        start = data.finding_info.created_time
        if not opened:
            self._post(f"post alert {alert.id}", min(start, data.time), data.time, tags, text)
            return True
        first = opened[0]
        self._connection.call(
            f"end the region of case {own.case}",
            dict,
            self._connection.api.annotations.partial_update_annotation,
            first["id"],
            time_from=first["time"],
            time_to=max(first["time"], data.time),
            tags=[*first["tags"], "close", mark],
            text=first["text"],
        )
        return True

    def promotion(self, model: str, version: str, at: float) -> bool:
        """Post that from here on another version of a model scores.

        Parameters
        ----------
        at
            Seconds since 1970.

        Returns
        -------
        bool
            False when it was there already.

        Raises
        ------
        GrafanaError
            When Grafana does not take it.
        """
        mark = f"id:promotion-{model}-{version}"
        if self._find(mark):
            return False
        tags = ["siphonwatch", "promotion", f"model:{model}", mark]
        text = f"{model} {version} scores from here on"
        self._post(f"post promotion of {model} {version}", round(at * 1000), None, tags, text)
        return True

    def _find(self, *tags: str) -> list[dict[str, Any]]:
        wanted = ["siphonwatch", *tags]
        found = self._connection.call(
            f"look for annotation {tags[-1]}",
            list,
            self._connection.api.annotations.find_annotations,
            tags=[quote(tag, safe="") for tag in wanted],  # the client puts them into the address as they are
            limit=10,
        )
        return [annotation for annotation in found if set(wanted) <= set(annotation["tags"])]

    def _post(self, doing: str, start: int, end: int | None, tags: list[str], text: str) -> None:
        """Times are milliseconds since 1970."""
        add = self._connection.api.annotations.add_annotation
        self._connection.call(doing, dict, add, time_from=start, time_to=end, tags=tags, text=text)
