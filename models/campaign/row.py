"""The row of one fingerprint. It lies over an account's row, so that tables, pages and checkpoints are the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import NAME_WORDS, Array
from siphonwatch.models.account.row import ROW
from siphonwatch.models.account.table import NAME
from siphonwatch.models.common.vocabulary import PROJECTION

TAU = 2 * 86_400.0
"""Time constant of all sums, seconds: long enough to hold accounts that work one sitting a day against each other."""
SUMS = (
    "asked",
    "conversation",
    "proper",
    "new",
    "moved",
    "changed",
    "net_known",
    "batons",
    "with_session",
    "returned",
    "burst",
)
ENTRIES = 64
"""Accounts in a fingerprint's sample."""
CONTENTS, BANDS = 48, 4
TEMPLATES = 6
HELD = 8

_SHARED = ("hash", "account", "first_seen", "last_time", "last_offset", "requests")
"""Fields that the table and the pages of account rows use."""
_OWN = (
    ("log_e", "f4", ()), ("peak", "f4", ()), ("bets", "i8", ()),
    ("number", "i8", ()),                                 # of its hypothesis, from 1; 0 before the first bet
    ("level", "i4", ()),                                  # accounts with so many low zero bits are in the sample
    ("cursor", "i4", (3,)), ("turn", "u4", ()),
    ("sample", "u4", (ENTRIES,)), ("weight", "f4", (ENTRIES,)),   # who used it, and how much, decayed
    ("latest", "u4", (ENTRIES,)),                         # place of its last request among all
    ("hour", "u2", (ENTRIES,)),                           # of that request, hours since 1970, modulo 65,536
    ("sums", "f4", (len(SUMS),)),
    ("embed", "f4", (PROJECTION,)), ("embed_weight", "f4", ()), ("embed_weight_sq", "f4", ()),
    ("template", "u8", (TEMPLATES,)), ("template_weight", "f4", (TEMPLATES,)),
    ("contents", "u2", (BANDS, CONTENTS)),
    ("held_content", "u8", (HELD,)), ("held_by", "u8", (HELD,)), ("held_at", "f8", (HELD,)),
    ("last_account", "u8", ()), ("last_net", "u8", ()),
    ("samples", "u8", (2, NAME_WORDS)),
    ("era", "u1", ()),                                    # of the card its evidence is of
)  # fmt: skip


def _lay_out() -> np.dtype[np.void]:
    """The fields of a fingerprint's row, the shared ones where an account's row has them."""
    fields = ROW.fields
    assert fields is not None  # noqa: S101 - for the type checker: ROW is a structure
    names, formats, offsets = list(_SHARED), [fields[name][0] for name in _SHARED], [fields[n][1] for n in _SHARED]
    at = max(offset + kind.itemsize for kind, offset in zip(formats, offsets, strict=True))
    for name, kind, shape in _OWN:
        field = np.dtype((kind, shape))
        at += -at % np.dtype(kind).itemsize
        names.append(name)
        formats.append(field)
        offsets.append(at)
        at += field.itemsize
    if at > ROW.itemsize:
        raise TypeError(f"a fingerprint takes {at} bytes; an account's row has {ROW.itemsize}")
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": ROW.itemsize})


CAMPAIGN = _lay_out()


def as_accounts(edges: npt.NDArray[np.uint64]) -> Array:
    """Return fingerprints, `(n,)`, as the table looks accounts up."""
    out = np.zeros(len(edges), NAME)
    out["account_hash"] = edges
    out["account"][:, 0] = edges
    return out
