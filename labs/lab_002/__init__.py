"""Lab 002: attack detection, conversations, an engine of one's own, F1."""
