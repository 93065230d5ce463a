"""Measurements behind the book's figures, each side by side in one run; `make bench` prints them."""
