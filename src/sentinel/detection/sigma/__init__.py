"""The Sigma rule language: text -> rules, and what could not be understood."""
