-- Delivers items in order, each whole or not at all, each id once; stops at the first that fails.
--
-- KEYS, four an item: stream, mark of delivery, picture, raw picture.
-- ARGV: seconds a mark lives, seconds a picture lives; then for each item: entries the stream keeps, picture
-- and raw picture (empty: none), channel (empty: none), number of strings that follow, and those: the entry's
-- names and values in turn. The last value is what the channel is told.
--
-- Gives how many are delivered, those of earlier times included, and what was wrong with the channel, if
-- anything was. Fails with the first item's error if not even that was delivered.
--
-- A script is not rolled back: what fails must fail before the stream has the entry. So the pictures and a
-- mark "begun" come first, which shows that these keys may be written; then the entry; then the mark's final
-- value, in the same way as the one before. An item that failed in between is done again next time, whole.

local mark_life, picture_life = ARGV[1], ARGV[2]
local at, delivered, unheard = 3, 0, ''

local function deliver(stream, mark, picture, raw, keep, jpeg, raw_jpeg, channel, entry)
  local earlier = redis.call('GET', mark)
  if earlier and earlier ~= 'begun' then return end
  if jpeg ~= '' then redis.call('SET', picture, jpeg, 'EX', picture_life) end
  if raw_jpeg ~= '' then redis.call('SET', raw, raw_jpeg, 'EX', picture_life) end
  redis.call('SET', mark, 'begun', 'EX', mark_life)
  local id = redis.call('XADD', stream, 'MAXLEN', '~', keep, '*', unpack(entry))
  redis.call('SET', mark, id, 'EX', mark_life)
  if channel ~= '' then
    local heard = redis.pcall('PUBLISH', channel, entry[#entry])
    if type(heard) == 'table' and heard.err then unheard = heard.err end
  end
end

for key = 1, #KEYS, 4 do
  local count = tonumber(ARGV[at + 4])
  local entry = {unpack(ARGV, at + 5, at + 4 + count)}
  local fine, failure = pcall(deliver, KEYS[key], KEYS[key + 1], KEYS[key + 2], KEYS[key + 3],
    ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], entry)
  if not fine then
    if delivered > 0 then return {delivered, unheard} end
    if type(failure) == 'table' then return failure end
    return redis.error_reply(failure)
  end
  delivered = delivered + 1
  at = at + 5 + count
end
return {delivered, unheard}
