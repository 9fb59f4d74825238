"""Makes and judges the classifier; not shipped."""
