"""Verdicts that analysts gave in their own tools, back to the verdicts topic."""
