"""The detectors of single accounts, one pattern a file. Nothing here keeps state."""
