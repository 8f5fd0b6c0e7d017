-- Stores the preview of a camera, so that it never stays without an expiry; returns whether somebody still watches.
--
-- KEYS: the preview, `watching`. ARGV: the seconds it lives, then fields and values.

redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return redis.call('EXISTS', KEYS[2])
