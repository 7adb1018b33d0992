"""The features of a fingerprint at a sighting: names, units, meaning, in the order of columns. Computes nothing.

A feature is its line here, and its value under its name in `siphonwatch.models.campaign.windows`.
"""

from __future__ import annotations

from typing import NamedTuple

from siphonwatch.models.common.declare import Field, record


class CampaignFeature(NamedTuple):
    """One feature of a fingerprint."""

    name: str
    unit: str
    meaning: str


FEATURES = (
    CampaignFeature("accounts", "accounts", "how many accounts share the load, were their loads equal"),
    CampaignFeature("per_account", "requests", "requests an account, over 2 days"),
    CampaignFeature("disparity", "ratio", "how unequal the accounts' shares are: 1 equal, people 2 and more"),
    CampaignFeature("new_content", "share", "text unlike what any of the accounts sent of late"),
    CampaignFeature("conversation", "share", "requests that go on with a conversation"),
    CampaignFeature("tools", "share", "requests that bring tools, as agents do"),
    CampaignFeature("rhythm", "0..1", "how much the requests keep to some hours of the day, as people do"),
    CampaignFeature("rewrites", "share", "long texts that are answered about as long: given back otherwise"),
    CampaignFeature("breadth", "0..1", "how little the texts have in common"),
    CampaignFeature("top_template", "share", "share of the commonest template"),
    CampaignFeature("passing", "share", "requests that come from another account than the one before"),
    CampaignFeature(
        "turn_taking", "ratio", "the same, over what it would be if each request's account were drawn by its share"
    ),
    CampaignFeature("places", "share", "requests from another address block than the one before"),
    CampaignFeature("batons", "requests", "prompts held back (429, 529) that another account sent within a minute"),
    CampaignFeature("seen", "requests", "requests asked once, over 2 days"),
    CampaignFeature("session", "share", "names a session"),
    CampaignFeature("sittings", "share", "accounts that return long before their turn, as people come in sittings"),
    CampaignFeature("rest", "share", "plain REST: reads of one route, each of what its account did not read before"),
    CampaignFeature("handed", "share", "identifiers or pages next to where another account was just before"),
    CampaignFeature("missing", "share", "what was not there (404)"),
    CampaignFeature("again", "share", "what another account asked for of late"),
    CampaignFeature("trail_new", "share", "how much of what the accounts read there was new to them"),
    CampaignFeature("pace", "log(s)", "spread of the time between requests, all accounts': 1.3 drawn, less by a clock"),
    CampaignFeature("together", "0 or 1", "1 where only reads that go on with handed walks, or miss, are evidence"),
)
NAMES = tuple(feature.name for feature in FEATURES)
INDEX = {name: i for i, name in enumerate(NAMES)}
WIDTH = len(FEATURES)
VALUES = record([Field(feature.name, "f4", feature.unit, feature.meaning) for feature in FEATURES])
"""The features of one fingerprint by name; `(n,) VALUES` and `(n, WIDTH) float32` are the same bytes."""
