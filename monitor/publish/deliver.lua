-- Delivers items in order, each whole or not at all, each id once; stops at the first that fails.
--
-- KEYS: the ledger of pictures; then four an item: stream, mark of delivery, picture, raw picture.
-- ARGV: seconds a mark lives, seconds a picture lives, bytes that all pictures may take, what comes before an
-- id in the names of a picture and of a raw picture; then for each item: its id, entries the stream keeps,
-- picture and raw picture (empty: none), channel (empty: none), number of strings that follow, and those: the
-- entry's names and values in turn. The last value is what the channel is told.
--
-- Gives how many are delivered, those of earlier times included; what was wrong with the channel, if anything
-- was; how many pictures were removed to make room; and the bytes of those that are kept. Fails with the first
-- item's error if not even that was delivered.
--
-- A script is not rolled back: what fails must fail before the stream has the entry. So the pictures and a
-- mark "begun" come first, which shows that these keys may be written; then the entry; then the mark's final
-- value, in the same way as the one before. An item that failed in between is done again next time, whole.
--
-- The ledger is a sorted set of `<bytes>:<id>`, in the order of writing. The score is the sum of all bytes
-- written so far, so the difference of two scores is what was written in between, and no count can drift.
-- A picture that expired, or that the server evicted, leaves the ledger when it is the oldest there. Pictures
-- that are removed are named by the ledger, not by KEYS: they have the prefix, so they lie in the same slot.

local ledger, mark_life, picture_life, budget = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local picture_names, raw_names = ARGV[4], ARGV[5]
local at, delivered, unheard, removed = 6, 0, '', 0

local function oldest()
  local found = redis.call('ZRANGE', ledger, 0, 0, 'WITHSCORES')
  if not found[1] then return nil end
  local size, id = string.match(found[1], '^(%d+):(.*)$')
  local before = tonumber(found[2]) - tonumber(size or 0)
  return found[1], before, picture_names .. (id or ''), raw_names .. (id or '')
end

local function written()
  local found = redis.call('ZRANGE', ledger, -1, -1, 'WITHSCORES')
  return tonumber(found[2] or 0)
end

local function forget_gone()
  for _ = 1, 1000 do -- at most so many at once: others wait for this script
    local entry, _, picture, raw = oldest()
    if not entry or redis.call('EXISTS', picture, raw) > 0 then return end
    redis.call('ZREM', ledger, entry)
  end
end

local function make_room(size)
  local total = written()
  local entry, before, picture, raw = oldest()
  while entry and total - before + size > budget do
    removed = removed + math.min(1, redis.call('UNLINK', picture, raw))
    redis.call('ZREM', ledger, entry)
    entry, before, picture, raw = oldest()
  end
  return total
end

local function keep_pictures(id, picture, raw, jpeg, raw_jpeg)
  local size = #jpeg + #raw_jpeg
  if size == 0 then return end
  local total = make_room(size)
  if jpeg ~= '' then redis.call('SET', picture, jpeg, 'EX', picture_life) end
  if raw_jpeg ~= '' then redis.call('SET', raw, raw_jpeg, 'EX', picture_life) end
  redis.call('ZADD', ledger, 'NX', string.format('%.0f', total + size), string.format('%d:%s', size, id))
end

local function deliver(id, stream, mark, picture, raw, keep, jpeg, raw_jpeg, channel, entry)
  local earlier = redis.call('GET', mark)
  if earlier and earlier ~= 'begun' then
    redis.call('SET', mark, earlier, 'EX', mark_life) -- a write, so that a WAIT on a new connection waits for all
    return
  end
  keep_pictures(id, picture, raw, jpeg, raw_jpeg)
  redis.call('SET', mark, 'begun', 'EX', mark_life)
  local number = redis.call('XADD', stream, 'MAXLEN', '~', keep, '*', unpack(entry))
  redis.call('SET', mark, number, 'EX', mark_life)
  if channel ~= '' then
    local heard = redis.pcall('PUBLISH', channel, entry[#entry])
    if type(heard) == 'table' and heard.err then unheard = heard.err end
  end
end

local function failed(failure)
  if type(failure) == 'table' then return failure end
  return redis.error_reply(failure)
end

local sound, trouble = pcall(forget_gone)
if not sound then return failed(trouble) end
for key = 2, #KEYS, 4 do
  local count = tonumber(ARGV[at + 5])
  local entry = {unpack(ARGV, at + 6, at + 5 + count)}
  local fine, failure = pcall(deliver, ARGV[at], KEYS[key], KEYS[key + 1], KEYS[key + 2], KEYS[key + 3],
    ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], entry)
  if not fine then
    if delivered == 0 then return failed(failure) end
    break
  end
  delivered = delivered + 1
  at = at + 6 + count
end
local entry, before = oldest()
return {delivered, unheard, removed, entry and written() - before or 0}
