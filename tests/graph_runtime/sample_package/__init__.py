"""A node package for worker processes under test."""
