"""Tools that keep an object a case: TheHive, DFIR-IRIS, Jira."""
