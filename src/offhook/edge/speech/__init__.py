"""Speech to text: engines behind one protocol, and the worker processes that run the local one.

`service.SpeechService` is the door for the rest of the server: audio of one track in, events out.
This room knows audio, engines and processes. It does not know calls, webhooks or HTTP, and it
never runs a model in the server's own process.
"""
