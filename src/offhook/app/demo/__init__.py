"""The demo: server, example app and phone in one terminal, with everything checked.

It knows what each of the three tells about itself and compares the accounts; it reaches into none
of them.
"""
