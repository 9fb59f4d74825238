"""The HTTP API of a monitor: `application.create_app`."""
