"""Names under which some programs look for them; they live elsewhere."""

from sentinel.scanning.pipeline import Pipeline, get_default_pipeline

__all__ = ["Pipeline", "get_default_pipeline"]
