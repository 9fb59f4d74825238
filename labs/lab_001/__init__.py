"""Lab 001: installation, first scans, guard."""
