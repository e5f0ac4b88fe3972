"""The HTTP API: Telnyx Call Control as its SDKs speak it, and Offhook's own few paths beside it.

Turns a request into a command of `offhook.call.commands`, hands it to a `CallService` and turns
the reply or the refusal into an answer (contract 1). It knows parameters, their limits and error
codes; it knows neither calls nor SIP nor media, and it decides nothing about a leg.
"""
