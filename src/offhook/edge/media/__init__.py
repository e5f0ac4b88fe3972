"""Media: the only door to the native media core, and a fake of it for tests of the control plane.

`engine.MediaEngine` says what a media engine can do, `events` what it reports; `native.NativeEngine`
is the real one (Rust, workers, sockets), `fake.FakeEngine` the one in memory. The room knows legs
and taps by number; it knows no calls, no SIP, no webhooks, and no packet passes through it.
"""
