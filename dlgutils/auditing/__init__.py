"""An audit: what a network gives away in its protocol, probe by probe, with the evidence."""

from dlgutils.auditing.records import Advice, Finding, Report, Scores

__all__ = ["Advice", "Finding", "Report", "Scores"]
