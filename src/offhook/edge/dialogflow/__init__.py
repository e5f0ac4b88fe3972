"""Agents of Google Dialogflow, ES and CX, that hear a call and answer it.

Takes decoded audio and gives out what the agent says: transcripts, answers, reply audio. Works
over Google's own client libraries, which are the extra `offhook[dialogflow]` and are imported only
when the first agent is needed. Does not know what a call, a tap or a webhook is, nor where the
credentials are kept.
"""
