"""For people who write apps: the simulated phone, a stream server, the webhook verifier, audio tools.

The kit stands outside the server, as an app or a phone would. It speaks the same protocols through
`proto` and, for the phone, `edge.sip` and `edge.media`; it knows neither calls nor the API's inside.
"""
