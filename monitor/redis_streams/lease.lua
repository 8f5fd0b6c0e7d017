-- Takes, renews or releases the lease of each of KEYS, one a camera; its value is `<daemon> <run>`.
--
-- ARGV: `take`, `renew` or `release`; our value; the milliseconds it lives. Returns for each key the value that it
-- has now, if it is not ours, else an empty string. Taking also takes what an earlier run of the same daemon left;
-- renewing does not: then it is another daemon of the same identity.

local action, value, ttl = ARGV[1], ARGV[2], ARGV[3]
local daemon = string.match(value, '^%S+ ')
local others = {}
for number, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  local ours = held == value or (action == 'take' and held and string.sub(held, 1, #daemon) == daemon)
  others[number] = ''
  if action == 'release' then
    if ours then redis.call('UNLINK', key) end
  elseif ours or not held then
    redis.call('SET', key, value, 'PX', ttl)
  else
    others[number] = held
  end
end
return others
