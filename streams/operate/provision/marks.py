"""How `provision` knows what is its own in a Grafana: uids, a tag, labels."""

from __future__ import annotations

PREFIX = "siphonwatch-"
"""How the uid of each dashboard and alert rule of ours begins."""
FOLDER_UID = "siphonwatch"
SOURCE_UID = "siphonwatch-prometheus"
MARK = "managed-by-siphonwatch"
"""Tag of a dashboard that `provision` made and may change or remove."""
SERVICE = "siphonwatch"
"""Value of the label `service`, by which alerts find their way to the contact point, and of `managed_by`."""
