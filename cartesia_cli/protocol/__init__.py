"""The messages of Cartesia's speech-to-text API, encoded and decoded: requests, responses, commands, events.

    constants     routes, models, prices, headers, URLs
    batch         the batch endpoint: request and response
    realtime      the realtime endpoints: parameters and commands
    events        what a server sends in a realtime session, and refusals
    models        the list of models
    languages     their names, and values of `--language` that aren't codes
    json_fields   words, detected languages, and how fields of messages are read

The client and the local server share it, so that they can't drift apart. Pure: values in, values out; no I/O, no
clock. Its invariants, checked by property tests:

    decode is total           any frame gives an event or a ProtocolError, nothing else
    decode(encode(e)) == e    for every event, command and batch response
    nothing is discarded      unknown and malformed fields are kept in `extra`, and an event of an unknown type is an
                              Unknown: within an API version the server may add both (API docs: api-conventions)

Sources in parentheses are pages of Cartesia's documentation: "batch" is api-reference/stt/transcribe, "manual"
api-reference/stt/websocket, "turns" api-reference/stt/turns/websocket, "errors" use-the-api/api-errors, "keyterms"
use-the-api/stt/keyterms, "pricing" pricing.
"""
