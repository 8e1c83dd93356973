"""Runs typed graphs of nodes: knows pydantic, networkx and sqlite3, and nothing of torch or of any node."""
