"""The desk in a browser: pages, forms and an HTTP API over what `siphonwatch.streams.desk.views` names."""
