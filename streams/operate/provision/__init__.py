"""What on-call engineers look at and are woken by: dashboards, rules, and what puts them in place."""
