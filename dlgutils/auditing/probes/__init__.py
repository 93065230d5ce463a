"""The probes of an audit, each a function: what a server saw, in; a finding, out.

`auditing.run` has the list of them, in the order of their cost.
"""
