"""Text to a keyed, irreversible sketch, at the gateway: the only thing about a prompt that ever leaves it."""

from siphonwatch.streams.edge.sketch.sketcher import Sketcher

__all__ = ["Sketcher"]
