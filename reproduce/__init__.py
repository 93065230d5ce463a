"""The experiments behind the book's committed tables, one script each; `make rates` runs one."""

import os

# Flower and ray report their use over the network, unless this is said before they are imported.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
