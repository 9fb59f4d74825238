"""The scanner room: a text in, a `ScanResult` out. Pure but for one monotonic clock, in `scanner`."""
