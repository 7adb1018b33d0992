"""Makes `ocsf_2004.json`: the published OCSF schema of class 2004 as JSON Schema, cut to the objects that alerts use.

`python tests/tools/ocsf_schema.py COMPILED > tests/tools/ocsf_2004.json`, where COMPILED is what
`python -m ocsf.compile` (ocsf-lib on PyPI) prints for version 1.8.0 of github.com/ocsf/ocsf-schema (Apache-2.0).
What is required, the types, enumerations and constraints are kept; descriptions are not. An object that alerts don't
use may be anything.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

USED = (
    "account analysis_target analytic anomaly anomaly_analysis api attack baseline evidences finding_info metadata "
    "observable observation product request technique user"
).split()
TYPES: dict[str, dict[str, Any]] = {
    "boolean_t": {"type": "boolean"},
    "integer_t": {"type": "integer"},
    "long_t": {"type": "integer"},
    "timestamp_t": {"type": "integer"},
    "float_t": {"type": "number"},
    "url_t": {"type": "string", "format": "uri"},
    "object": {"type": "object"},
    "json_t": {},
}
OPTIONAL_PROFILES = {"cloud", "osint", "host", "datetime", "incident"}
"""A finding of ours declares no profile, so what these require or add is not there."""


def attribute(given: dict[str, Any]) -> dict[str, Any]:
    """One attribute's value."""
    kind = given["type"]
    if kind in USED:
        schema: dict[str, Any] = {"$ref": f"#/$defs/{kind}"}
    elif kind.endswith("_t") or kind in TYPES:
        schema = dict(TYPES.get(kind, {"type": "string"}))
    else:
        schema = {"type": "object"}
    if given.get("enum") and schema.get("type") == "integer":
        schema["enum"] = sorted(map(int, given["enum"]))
    return {"type": "array", "items": schema} if given.get("is_array") else schema


def thing(given: dict[str, Any]) -> dict[str, Any]:
    """One object, or the class."""
    attributes = {
        name: a for name, a in sorted(given["attributes"].items()) if a.get("profile") not in OPTIONAL_PROFILES
    }
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: attribute(a) for name, a in attributes.items()},
        "required": [name for name, a in attributes.items() if a.get("requirement") == "required"],
        "additionalProperties": False,
    }
    if least := (given.get("constraints") or {}).get("at_least_one"):
        schema["anyOf"] = [{"required": [name]} for name in least]
    return schema


def make(compiled: dict[str, Any]) -> dict[str, Any]:
    """The schema of class 2004."""
    source = f"github.com/ocsf/ocsf-schema {compiled['version']}, Apache-2.0; made by ocsf_schema.py"
    objects = {name: thing(compiled["objects"][name]) for name in USED}
    return {"$comment": source, **thing(compiled["classes"]["detection_finding"]), "$defs": objects}


if __name__ == "__main__":
    print(json.dumps(make(json.loads(Path(sys.argv[1]).read_text())), separators=(",", ":")))
