"""Text to speech: voices behind one protocol, and the worker processes that run the local one.

`service.VoiceService` is the door for the rest of the server: a script in, pieces of audio out, as fast
as they are asked for. This room knows voices, audio and processes. It does not know calls, webhooks or
HTTP, and it never runs a model in the server's own process.
"""
