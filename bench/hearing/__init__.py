"""How well and how soon the local engine hears: material, conditions, accuracy, load.

Knows the speech room and the voice room of Offhook; knows no calls.
"""
