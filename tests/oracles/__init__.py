"""xcompose beside other implementations of the same papers, weights mapped one to one.

`make test-oracles` runs them in an environment of their own; elsewhere they are skipped. Each file says beside the
mapping where its oracle departs from the paper.
"""
