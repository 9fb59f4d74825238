"""Lab 004: production monitoring."""
