"""Measurements of time and memory, each side by side in one run; `make bench` prints them."""
