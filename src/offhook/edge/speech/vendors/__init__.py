"""Engines that are somebody else's service: one thin dialect each, and one session that all share.

A dialect is pure: it turns audio into a vendor's messages and messages into what was said. The
session owns everything that can go wrong: it connects, replays, keeps alive, rotates and gives up.
"""
