"""Lab 003: custom rules, thresholds, domains, pipelines."""
