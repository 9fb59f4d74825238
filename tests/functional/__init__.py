"""The whole application over HTTP, in process; nothing is patched."""
