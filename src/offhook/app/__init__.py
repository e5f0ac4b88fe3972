"""Wiring: settings, keys, the registry of legs, the runner of their effects, the server, the CLI.

This is the only room that knows all the others; nobody imports it.
"""
