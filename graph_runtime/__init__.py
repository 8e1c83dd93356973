"""Runs typed graphs of nodes; imports pydantic, networkx and sqlite3, never torch or a node package."""
