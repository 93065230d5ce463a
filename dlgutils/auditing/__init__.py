"""An audit: what a network gives away in its protocol, probe by probe, with the evidence.

The call is `dlgutils.audit`, from `auditing.run`; the records are what it returns.
"""

from dlgutils.auditing.records import Advice, Finding, Report, Scores

__all__ = ["Advice", "Finding", "Report", "Scores"]
