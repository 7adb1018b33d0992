"""Draws what a week is composed of, to fit on many compositions, not one: `python -m bench drawn SEED OUT.json ...`.

The file is a configuration for the composer of labelled traffic: seventy operators who attack from one account each,
with family, cover, share, pace, parameters and disguise drawn anew, among honest accounts whose kinds, numbers and
habits are drawn too. What is fitted to several such weeks knows fewer of a single composer's choices by heart.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COVERS = (
    "chat", "chat", "app_backend", "app_backend", "coding_agent", "enterprise", "shared_nat", "researcher", "bulk_etl",
    "privacy_proxy",
)  # fmt: skip
MASKS = ("angle", "angle_idx", "square", "square_idx", "mustache", "stars", "hex", "b64", "fake")
SYSTEMS = (None, None, "You are a helpful assistant.", "Answer the question.", "You are an expert. Be concise.")
SHARES = (1.0, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.1)
HOURS = ([8, 20], [9, 23], [0, 12], [6, 18])
BATCHES = "alpaca_meta_recon"
"""The family whose replies are batches of new prompts."""
OPERATORS = 70
REQUESTS = 230_000


def operator(number: int, families: Sequence[str], draw: random.Random) -> dict[str, Any]:
    """Return one attack: its type (A, D, E or C of the composer) and everything about it, drawn."""
    kind = draw.choices("ADEC", [46, 12, 6, 6])[0]
    family = draw.choice(families)
    attack: dict[str, Any] = {
        "id": f"{kind}-{number}", "type": kind, "families": [family], "share": draw.choice(SHARES),
        "cover": {draw.choice(COVERS): 1.0}, "start_day": round(draw.uniform(0.2, 3.5), 2), "params": parameters(draw),
        "prompts": draw.randint(45, 220) if draw.random() < 0.85 else draw.randint(220, 500),
        "workers": draw.randint(1, 4),
    }  # fmt: skip
    least = round(draw.uniform(0.1, 4), 2)
    attack["delay"] = [least, round(least * draw.uniform(2, 12), 1)]
    if family == BATCHES:
        attack |= {"style": "meta", "prompts": min(attack["prompts"], 90)}
    elif draw.random() < 0.2:
        attack |= {"style": draw.choice(["cot", "rubric"]), "prompts": max(45, attack["prompts"] // 2)}
    system = draw.choice(SYSTEMS)
    if system:
        attack["system"] = system
    if kind == "D":
        quota = draw.randint(4, 20)
        attack |= {"schedule": "daily", "quota": [quota, quota + draw.randint(3, 15)]}
        attack["start_day"] = round(draw.uniform(0.2, 1), 2)
    else:
        attack |= {"schedule": "runs", "runs": draw.randint(1, 12)}
    if draw.random() < 0.3:
        attack["active_hours"] = draw.choice(HOURS)
    if kind == "E":
        attack |= {"pivot": round(draw.uniform(0.3, 0.7), 2), "start_day": round(draw.uniform(1, 2.5), 2)}
    if kind == "C":
        attack |= {"mask": draw.choice(MASKS), "entities": 0.7}
        attack["families"] = [draw.choice([name for name in families if name != BATCHES])]
        attack.pop("style", None)
    disguise(attack, kind, system, draw)
    return attack


def disguise(attack: dict[str, Any], kind: str, system: str | None, draw: random.Random) -> None:
    """Add how the attack hides: in its cover's client and template, at its pace, by parameters or system prompts."""

    def blend() -> bool | str:
        plain = draw.random() < 0.75 or "app_backend" not in attack["cover"]
        return True if plain else "template"

    if attack["share"] < 1:
        chance = draw.random()
        if chance < 0.3:
            attack["blend"] = blend()
        elif chance < 0.55:
            attack |= {"blend": blend(), "human_pace": True}
            attack.pop("runs", None)
        elif chance < 0.65:
            attack["same_channel"] = True
    if not attack.get("blend") and draw.random() < 0.3:
        attack["jitter"] = True
    if not attack.get("blend") and not system and draw.random() < 0.2:
        attack["jitter_system"] = True
    elif not attack.get("blend") and not system and draw.random() < 0.15:
        attack["persona_system"] = draw.randint(3, 20)
    if kind in "AD" and draw.random() < 0.15:
        attack["multi_turn"] = draw.randint(2, 8)


def parameters(draw: random.Random) -> dict[str, float]:
    """Return what a request sets, or does not."""
    found: dict[str, float] = {}
    if draw.random() < 0.7:
        found["temperature"] = draw.choice([0, 0.2, 0.3, 0.6, 0.7, 0.8, 1.0, 1.2])
    if draw.random() < 0.7:
        found["max_tokens"] = draw.choice([300, 512, 800, 1024, 1500, 2048, 3000, 4096, 8192])
    if draw.random() < 0.2:
        found["top_p"] = draw.choice([0.9, 0.95, 1.0])
    return found


def configuration(seed: int, composer: Path, families: Sequence[str]) -> dict[str, Any]:
    """Return the configuration of one seed.

    Parameters
    ----------
    composer
        Its folder, with `dev2.json`, which gives the honest accounts, and `base.json`.
    families
        Of prompts that attackers ask; leave some out, and compose others to judge by.
    """
    draw = random.Random(900 + seed)
    made: dict[str, Any] = json.loads((composer / "dev2.json").read_text())
    weights: dict[str, float] = json.loads((composer / "base.json").read_text())["benign"]["weights"]
    made["campaigns"] = [operator(number, families, draw) for number in range(OPERATORS)]
    made |= {"name": f"drawn-{seed}", "extends": str(composer / "dev.json"), "target_requests": REQUESTS}
    weekly = made["benign"]["requests_per_week"]
    for kind, (least, most) in weekly.items():
        by = draw.uniform(0.6, 1.6)
        weekly[kind] = [max(5, int(least * by)), int(most * draw.uniform(0.6, 1.6))]
    drawn = {kind: weight * draw.uniform(0.5, 2) for kind, weight in weights.items()}
    made["benign"]["weights"] = {kind: weight / sum(drawn.values()) for kind, weight in drawn.items()}
    events = (("side_script", 0.05, 0.3), ("sdk_upgrade", 0.05, 0.3), ("metadata_drop", 0.02, 0.1))
    made["benign_events"] = {name: round(draw.uniform(low, high), 2) for name, low, high in events}
    for kind in made["lookalikes"]["kinds"].values():
        kind["accounts"] = max(20, int(kind["accounts"] * draw.uniform(0.5, 1.5)))
    return made


def main(arguments: Sequence[str]) -> int:
    """Write the configuration of one seed."""
    parser = argparse.ArgumentParser(prog="bench drawn", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--composer", type=Path, required=True, help="folder of the composer and its configurations")
    parser.add_argument("--families", nargs="+", required=True, metavar="NAME", help="of prompts that attackers ask")
    given = parser.parse_args(arguments)
    if not set(given.families) - {BATCHES}:
        parser.error(f"name a family besides {BATCHES}: masked attacks ask no batches")
    given.out.write_text(json.dumps(configuration(given.seed, given.composer, given.families), indent=1))
    return 0
