"""Hypernetworks in AUTOMATIC1111's form."""
