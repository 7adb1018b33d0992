"""What `provision` keeps in Grafana, one kind a file: each says how what is found differs from what we want."""
