"""The row of one fingerprint, declared part by part as an account's is; tables, pages and checkpoints take both."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import NAME_WORDS, Array
from siphonwatch.models.account.row import HEAD
from siphonwatch.models.account.sums import Sum
from siphonwatch.models.account.table import NAME
from siphonwatch.models.common.declare import Field, identity, record
from siphonwatch.models.common.vocabulary import PROJECTION

TAU = 2 * 86_400.0
"""Time constant of all sums, seconds: long enough to hold accounts that work one sitting a day against each other."""
SUMS = (
    Sum("asked", "requests", "1 where answered", "requests that were not held back"),
    Sum("conversation", "requests", "1 where answered, with several messages", "goes on with a conversation"),
    Sum("proper", "requests", "1 where answered and asked once", "what is evidence"),
    Sum("tooled", "requests", "1 where answered, with tools", "an agent's"),
    Sum("east", "requests", "where answered, the cosine of the time of day as an angle", "what hours it keeps"),
    Sum("north", "requests", "the sine of it", "the same"),
    # of the proper ones
    Sum("new", "requests", "1 with text unlike the fingerprint's recent ones", "asks something new"),
    Sum("moved", "requests", "1 from another account than the one before", "accounts take turns"),
    Sum("changed", "requests", "1 from another address block than the one before", "comes from elsewhere"),
    Sum("net_known", "requests", "1 with an address block", "what `changed` is a share of"),
    Sum("rewrites", "requests", "1 with a long text that is answered about as long", "given back in other words"),
    Sum("batons", "requests", "1 with text that another account was held back with within a minute", "handed over"),
    Sum("rest", "requests", "1 where it is plain REST", "a read of a collection"),
    Sum("handed", "requests", "1 that goes on with a walk where another account was", "one walk, handed round"),
    Sum("missing", "requests", "1 with a 404", "guessed"),
    Sum("again", "requests", "1 for what another account asked for of late", "accounts read the same"),
    Sum("trail_new", "requests", "the share of its account's trail that was new to it", "how little comes back"),
    Sum("with_session", "requests", "1 where it names a session", "it belongs to a session"),
    Sum("returned", "requests", "1 from an account in the sample", "what `burst` is a share of"),
    Sum("burst", "requests", "1 of these, where the account returned long before its turn", "people come in sittings"),
)
MAX_CARDS = 4
"""Cards over campaigns whose evidence a row has room for, 9 bytes each."""
ENTRIES = 64
"""Accounts in a fingerprint's sample."""
CONTENTS, BANDS = 48, 4
TEMPLATES = 6
HELD = 8
WALKS = 12
KNOWN = 128

PARTS = (
    *HEAD,
    # evidence
    Field("log_e", "f4", "log", "natural logarithm of the e-value by each card", (MAX_CARDS,)),
    Field("bets", "i4", "requests", "that were bets by each card", (MAX_CARDS,)),
    Field("era", "u1", "count", "of each card its evidence is of", (MAX_CARDS,)),
    Field("number", "i8", "place", "of its hypotheses in the budget, from 1; 0 before the first bet"),
    Field("samples", "u8", "8 bytes", "ids of the last requests that were evidence", (2, NAME_WORDS)),
    # sums
    Field("sums", "f4", "see SUMS", "additive quantities, decayed", (len(SUMS),)),
    Field("sum", tuple(Field(s.name, "f4", s.unit, s.meaning) for s in SUMS), "see SUMS", "by name", over=("sums",)),
    Field("embed", "f4", "", "decayed sum of the projection", (PROJECTION,)),
    Field("embed_weight", "f4", "requests", "its weight"),
    Field("embed_weight_sq", "f4", "requests", "its squared weights"),
    Field("template", "u8", "hash", "the commonest ones", (TEMPLATES,)),
    Field("template_weight", "f4", "requests", "of each", (TEMPLATES,)),
    # accounts
    Field("level", "i4", "count", "accounts with so many low zero bits are in the sample"),
    Field("turn", "u4", "requests", "proper ones so far"),
    Field("sample", "u4", "hash", "accounts that used it", (ENTRIES,)),
    Field("weight", "f4", "requests", "of each, decayed", (ENTRIES,)),
    Field("latest", "u4", "requests", "`turn` at the last request of each", (ENTRIES,)),
    Field("hour", "u2", "hours", "since 1970 of that request, modulo 65,536", (ENTRIES,)),
    Field("last_account", "u8", "hash", "of the proper request before"),
    Field("last_net", "u8", "hash", "address block of the proper request before that had one"),
    # text
    Field("contents", "u2", "hash", "bands of recent SimHashes", (BANDS, CONTENTS)),
    Field("next_content", "u1", "place", "in each band of `contents`, the oldest"),
    Field("held_content", "u8", "hash", "text that was held back lately; 0 once handed over", (HELD,)),
    Field("held_by", "u8", "hash", "account that sent it", (HELD,)),
    Field("held_at", "f8", "s", "event time of it", (HELD,)),
    Field("next_held", "u1", "place", "among these, the oldest"),
    # plain REST
    Field("walk_at", "i4", "", "last identifier or page of each walk, modulo 2**30", (WALKS,)),
    Field("walk_by", "u4", "hash", "account that was there", (WALKS,)),
    Field("walk_kind", "u1", "", "identifiers, pages or cursors", (WALKS,)),
    Field("walk_run", "u1", "requests", "that went on with each, 60 at most; 0 where there is none", (WALKS,)),
    Field("together", "u1", "", "1 where only reads that go on with handed walks, or miss, are evidence"),
    Field("known", "u2", "hash", "resources asked for of late, each at the place that its hash says", (KNOWN,)),
    Field("known_by", "u1", "hash", "account that asked for each first", (KNOWN,)),
    Field("log_gap", "f4", "log(s)", "running mean of the time between requests"),
    Field("log_gap_var", "f4", "log(s) squared", "running variance of the same"),
)
CAMPAIGN = record(PARTS)


def layout_id() -> str:
    """Return 12 hexadecimal digits that stand for what each byte of a fingerprint's row means."""
    return identity(PARTS, TAU)


def as_accounts(edges: npt.NDArray[np.uint64], around: npt.NDArray[np.uint64]) -> Array:
    """Return fingerprints, `(n,)`, as the table looks accounts up.

    `around`, `(n,)`, is the account that one is inside of; 0 for those over accounts.
    """
    out = np.zeros(len(edges), NAME)
    out["account_hash"] = edges
    out["account"][:, 0], out["account"][:, 1] = edges, around
    return out


def within(names: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the account that each fingerprint is inside of, of its row's name `(n, NAME_WORDS)`; 0 for none."""
    return names[:, 1]
