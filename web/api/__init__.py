"""The HTTP interface of the editor."""
