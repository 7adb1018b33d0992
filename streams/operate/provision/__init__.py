"""Provisioning of Grafana: the dashboards and alert rules of on-call engineers, and how they are kept in place."""
