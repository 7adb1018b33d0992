"""Campaigns: one list of prompts worked off through many accounts. Knows fingerprints and accounts, never a broker.

What a relay hands from account to account leaves each account ordinary; what the relay pins (its client, its
parameters, its system prompt) makes all of them one. So a fingerprint is watched like an account: `edges` makes them,
`row` and `windows` keep what is known of one, `features` names it, `members` holds who is behind it, and
`siphonwatch.models.engine.coordinator` runs it all.
"""
