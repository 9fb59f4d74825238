"""Names under which some programs look for them; they live elsewhere."""

from sentinel.errors import ThreatDetected
from sentinel.model import EngineResult, Finding, Severity
from sentinel.scanning.context import AnalysisContext
from sentinel.scanning.engines import Engine as BaseEngine

__all__ = ["AnalysisContext", "BaseEngine", "EngineResult", "Finding", "Severity", "ThreatDetected"]
