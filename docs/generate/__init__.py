"""Writes the tables of docs/ and of README.md from the code and from docs/results."""
