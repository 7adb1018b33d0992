"""The closed lists that a request is described by, in their one order: the telemetry contract publishes them, sketches
fill them in, account rows sum them. A list may grow at its end; nothing in it is renamed or moved."""

from __future__ import annotations

PROJECTION = 32
"""Dimensions of the keyed random projection of a text, each one signed byte."""

CHUNKS, REPLY_CHUNKS = 16, 8
"""Chunks of a message and of a reply at most: some 1,600 and 800 characters in chunks of the usual length, and longer
chunks of longer texts."""

MASK_FAMILIES = ("typed", "indexed", "bracket", "mustache", "stars", "hash", "base64", "chinese", "fictional")
"""Syntax families of masking, in the order of `Telemetry.masks`: <PERSON>, <PERSON_1>, [REDACTED], {{name}},
a star run, a hexadecimal surrogate, a base64 surrogate, a Chinese form such as 某公司, and names, numbers and
addresses reserved for fiction and documentation (John Doe, 555-0123, example.com)."""
TYPED, INDEXED, BRACKET, MUSTACHE, STARS, HASH, BASE64, CHINESE, FICTIONAL = range(len(MASK_FAMILIES))
"""Places in `MASK_FAMILIES`."""

INTENTS = ("reasoning", "grading", "scrubbing", "generation", "echo")
"""Bits of `Telemetry.intents`, lowest first: asks for a reasoning trace; grades an answer by a rubric; tells the
model to leave out identities; asks for training examples; asks for the text back unchanged."""
REASONING, GRADING, SCRUBBING, GENERATION, ECHO = (1 << bit for bit in range(len(INTENTS)))
"""Each of `INTENTS` as its bit."""
