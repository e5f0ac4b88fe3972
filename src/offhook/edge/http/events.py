"""The event types that `webhook_urls` may name (contract 3.4)."""

_NAMES = """
    call.ai_gather.ended call.ai_gather.message_history_updated call.ai_gather.partial_results call.answered
    call.bridged call.conversation.ended call.conversation_insights.generated call.cost
    call.deepfake_detection.error call.deepfake_detection.result call.dequeued call.dtmf.received
    call.enqueued call.fork.started call.fork.stopped call.gather.ended call.hangup call.hold call.initiated
    call.machine.detection.ended call.machine.greeting.ended call.machine.premium.detection.ended
    call.machine.premium.greeting.ended call.playback.ended call.playback.started call.recording.error
    call.recording.saved call.recording.transcription.saved call.refer.completed call.refer.failed
    call.refer.started call.sip_info.received call.speak.ended call.speak.started call.transcription
    call.transcription.failed call.unhold
    siprec.failed siprec.started siprec.stopped dialogflow.detectintent.response streaming.failed streaming.started
    streaming.stopped
"""
EVENT_TYPES = frozenset(_NAMES.split())
