"""Renders the chart by Helm itself, as a library, and finds what is in the manifests; it talks to no cluster."""

from __future__ import annotations

import copy
import functools
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import helm_python as helm
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "siphonwatch"
EXAMPLES = tuple(sorted(path.stem for path in (CHART / "examples").glob("*.yaml")))
Manifest = dict[str, Any]

MINIMAL: dict[str, Any] = {
    "settings": {"kafka": {"bootstrap": "kafka.kafka.svc:9092"}},
    "identity": {"existingSecret": "siphonwatch-identity"},
}
SASL: dict[str, Any] = {
    "settings": {
        "kafka": {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "siphonwatch"}
    },
    "kafka": {"sasl": {"existingSecret": "siphonwatch-kafka"}},
}
MORE: dict[str, dict[str, Any]] = {
    "secrets-in-values": {
        **SASL,
        "identity": {"existingSecret": "", "value": "only-for-a-trial-0123"},
        "kafka": {"sasl": {"value": "correct horse"}},
        "autoscaling": {"enabled": True},
    },
    "strimzi-tls": {
        "settings": {
            "kafka": {"security_protocol": "SSL"}, "topics": {"prefix": "Team_A.siphonwatch", "replication": 1},
        },
        "kafka": {"tls": {"client": {"existingSecret": "sw", "certKey": "user.crt", "keyKey": "user.key"}}},
        "topics": {"manage": "strimzi"},
        "strimzi": {
            "cluster": "main",
            "apiVersion": "kafka.strimzi.io/v1",
            "user": {"create": True, "name": "sw", "authentication": "tls"},
        },
        "autoscaling": {"enabled": True, "maxReplicas": 8},
    },
    "names-that-look-like-numbers": {
        "fullnameOverride": "true",
        "identity": {"existingSecret": "123", "secretKey": "0"},
        "kafka": {"sasl": {"existingSecret": "0x1f", "passwordKey": "1_0"}, "tls": {"ca": {"existingSecret": "7"}}},
        "grafana": {"existingSecret": "8", "tokenKey": "9"},
        "deliver": {"existingSecret": "4", "priorityClassName": "5"},
        "worker": {"priorityClassName": "6", "nodeSelector": {"1": "2"}},
        "serviceAccount": {"name": "2"},
        "settings": {
            "kafka": {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "12"},
            "sinks": {"1": {"kind": "grafana"}}, "grafana": {"url": "http://grafana"},
        },
        "topics": {"manage": "strimzi"},
        "strimzi": {"cluster": "10", "namespace": "11", "user": {"create": True, "name": "12"}},
        "autoscaling": {"enabled": True},
        "env": {"on": "off"},
    },
    "bare": {
        "topics": {"manage": "none"},
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False},
        "securityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
        "worker": {"podDisruptionBudget": {"enabled": False}, "topologySpread": [], "replicas": 1},
    },
    "archive-on-a-volume": {
        "archive": {"enabled": True, "volume": {"storageClass": "fast"}, "podLabels": {"team": "lab"}},
        "monitoring": {"serviceMonitor": {"enabled": True}},
    },
    "archive-in-a-store": {
        **SASL,
        "archive": {
            "enabled": True, "url": "s3://bucket/siphonwatch", "existingSecret": "siphonwatch-archive", "port": 7002,
            "image": "registry.example/siphonwatch-s3:0.1.0",
        },
        "networkPolicy": {"archive": {"ports": [9000]}},
    },
    "desk-and-feedback": {
        **SASL,
        "desk": {"enabled": True, "existingSecret": "siphonwatch-desk", "sessionKey": "session",
                 "volume": {"storageClass": "fast"}, "podLabels": {"team": "tns"}},
        "feedback": {"enabled": True},
        "deliver": {"existingSecret": "siphonwatch-sinks"},
        "settings": {
            **SASL["settings"],
            "desk": {
                "address": "https://desk.example", "login": "oidc", "oidc_client": "siphonwatch-desk", "port": 7003,
                "oidc_issuer": "https://login.example:8443/realms/staff", "decide": ["analysts"], "status_port": 7004,
                "oidc_secret_file": "/etc/siphonwatch/desk/oidc", "names": "/etc/siphonwatch/desk/customers.csv",
            },
            "feedback": {"port": 7005, "secret_file": "/etc/siphonwatch/sinks/feedback"},
            "sinks": {
                "jira": {"kind": "jira", "url": "https://jira.example:8444", "project": "SW", "username": "bot",
                         "token_file": "/etc/siphonwatch/sinks/jira"},
                "hook": {"kind": "webhook", "url": "https://a.example:7443",
                         "secret_file": "/etc/siphonwatch/sinks/hook"},
            },
        },
        "networkPolicy": {
            "desk": {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]},
            "feedback": {"from": [{"podSelector": {"matchLabels": {"app": "soar"}}}]},
        },
        "monitoring": {"serviceMonitor": {"enabled": True}},
    },
    "several-desks": {
        **SASL,
        "desk": {"enabled": True, "replicas": 2, "existingSecret": "siphonwatch-desk", "sessionKey": "session"},
        "settings": {
            **SASL["settings"],
            "desk": {"address": "https://desk.example", "login": "proxy", "proxies": ["10.0.0.0/8"], "read": ["tns"]},
        },
    },
    "desk-behind-a-port-forward": {
        "desk": {"enabled": True, "volume": {"persistent": False, "size": "2Gi"}},
        "settings": {"desk": {"host": "127.0.0.1"}},
    },
    "named-and-placed": {
        "fullnameOverride": "watch",
        "image": {"digest": "sha256:" + "0" * 64},
        "env": {"HTTPS_PROXY": "http://proxy.example:3128"},
        "settings": {"web": {"port": 7000}, "deliver": {"port": 7001}, "ingest": {"topics": {"a.b": "kong"}},
                     "sinks": {"desk": {"kind": "alertmanager", "url": "http://alertmanager.example:9093"}}},
        "worker": {
            "nodeSelector": {"pool": "detection"}, "affinity": {"nodeAffinity": {}}, "priorityClassName": "high",
            "tolerations": [{"key": "pool", "operator": "Exists"}], "podLabels": {"team": "tns"},
            "podAnnotations": {"note": "yes"},
        },
        "monitoring": {name: {"enabled": True} for name in ("serviceMonitor", "rules", "dashboards")},
        "networkPolicy": {"prometheus": [], "kafka": {"ports": [9092, 19092]}},
    },
}  # fmt: skip
"""Values over MINIMAL that between them turn on what the examples leave off."""
CASES = (*EXAMPLES, *MORE)


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Return the layers over one another, as Helm merges values; a None takes a key out."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in copy.deepcopy(layer).items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def values(case: str) -> dict[str, Any]:
    """Return the values of an example, or of one of `MORE`."""
    if case in MORE:
        return merged(MINIMAL, MORE[case])
    loaded: dict[str, Any] = yaml.safe_load((CHART / "examples" / f"{case}.yaml").read_text())
    return loaded


def render(given: dict[str, Any], *, name: str = "siphonwatch", namespace: str = "detection") -> dict[str, str]:
    """Return each template's output.

    Raises
    ------
    HelmError
        Where the values are refused, or a template fails.
    """
    with helm.Chart.load(CHART) as chart:
        return chart.render(given, name=name, namespace=namespace)


def manifests(given: dict[str, Any], *, name: str = "siphonwatch") -> list[Manifest]:
    """Return every object that the chart makes of these values."""
    return copy.deepcopy(_manifests(json.dumps(given), name))


@functools.cache
def _manifests(given: str, name: str) -> list[Manifest]:
    texts = {path: text for path, text in render(json.loads(given), name=name).items() if path.endswith(".yaml")}
    return [found for text in texts.values() for found in yaml.load_all(text, yaml.CSafeLoader) if found]


def one(objects: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    """Return the only object of a kind, or of a kind and name."""
    found = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects of kind {kind} {name or ''}"
    return found[0]


def pods(objects: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each object that makes pods, with its pod template."""
    for found in objects:
        if found["kind"] in ("StatefulSet", "Deployment", "Job"):
            yield found, found["spec"]["template"]


def containers(template: Manifest) -> list[Manifest]:
    """Return all containers of a pod template."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def toml(objects: list[Manifest], component: str) -> str:
    """Return the settings that a component's pods read."""
    found = [o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"].endswith(f"-{component}")]
    assert len(found) == 1
    text: str = found[0]["data"]["siphonwatch.toml"]
    return text


def maintain() -> ModuleType:
    """Return `helm/maintain.py`, which is a script."""
    spec = importlib.util.spec_from_file_location("maintain", ROOT / "helm" / "maintain.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
