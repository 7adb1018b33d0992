"""The worker: a Faust app over a bulk transport, one running partition for each assigned one."""
