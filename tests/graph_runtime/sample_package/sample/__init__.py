"""Nodes that take their time, print, or die."""
