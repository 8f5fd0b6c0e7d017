"""Findings on their way to subscribers: the event document, the outbox, Redis, and the reading side.

`document` says what an event is, `coverage` what was not inspected; `parcel` is either, packed. `outbox`
keeps parcels until a `sink` has taken them; `subscriber` reads them back.
"""
