"""Faust agents and what runs an assigned partition: thin, no arithmetic."""
