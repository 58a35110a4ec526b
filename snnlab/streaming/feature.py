"""Real time: a network fed with events as they arrive, its answers, its page, its certificate."""

PROVIDES = {
    "snnlab.stream": "snnlab.streaming.session.open_stream:stream",
}
