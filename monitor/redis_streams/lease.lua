-- Takes, renews, reads or releases the lease of each of KEYS, one a camera; its value is `<daemon> <run>`.
--
-- ARGV: `take`, `renew`, `look` or `release`; our value; the milliseconds it lives. Returns for each key the value
-- that it has now, if it is not ours, else an empty string. Taking takes all or none, and also what an earlier run of
-- the same daemon left; renewing does not: then it is another daemon of the same identity.

local action, value, ttl = ARGV[1], ARGV[2], ARGV[3]
local daemon = string.match(value, '^%S+ ')
local may_inherit = action == 'take' or action == 'look'
local others, all_free = {}, true
for number, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  local ours = held == value or (may_inherit and held and string.sub(held, 1, #daemon) == daemon)
  others[number] = (held and not ours) and held or ''
  all_free = all_free and others[number] == ''
  if action == 'release' and ours then
    redis.call('UNLINK', key)
  elseif action == 'renew' and others[number] == '' then
    redis.call('SET', key, value, 'PX', ttl)
  end
end
if action == 'take' and all_free then
  for _, key in ipairs(KEYS) do
    redis.call('SET', key, value, 'PX', ttl)
  end
end
return others
