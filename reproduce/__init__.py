"""The experiments behind the book's committed tables, one script each; `make rates` runs one."""
