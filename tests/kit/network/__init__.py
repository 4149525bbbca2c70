"""Wires and namespaces, frames that are numbered, files that were captured."""
