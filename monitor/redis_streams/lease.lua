-- Takes, renews or gives back the claim to each of KEYS, one a camera; a claim is `<daemon> <run>`.
--
-- ARGV: `take`, `renew` or `release`; our claim; the milliseconds it lives. Gives for each key whose claim it is
-- now, if it is not ours, else an empty string. Taking also takes what an earlier run of the same daemon left;
-- renewing does not: then it is another daemon of the same identity.

local doing, claim, life = ARGV[1], ARGV[2], ARGV[3]
local daemon = string.match(claim, '^%S+ ')
local others = {}
for number, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  local ours = held == claim or (doing == 'take' and held and string.sub(held, 1, #daemon) == daemon)
  others[number] = ''
  if doing == 'release' then
    if ours then redis.call('UNLINK', key) end
  elseif ours or not held then
    redis.call('SET', key, claim, 'PX', life)
  else
    others[number] = held
  end
end
return others
