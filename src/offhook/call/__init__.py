"""The domain: what a call leg is and what it decides.

`CallLeg` takes a command or a fact and `now`, changes itself, and returns effects: what must be
done, in order. It does no I/O, starts no task and reads no clock; it knows neither HTTP nor SIP
messages nor the media core, only their results. See ARCHITECTURE.md for the table of states.
"""
