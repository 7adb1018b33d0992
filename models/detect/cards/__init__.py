"""The cards: one pattern a TOML file. Adding one is adding its file; `siphonwatch.models.detect.registry` finds it."""
