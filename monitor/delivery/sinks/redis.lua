-- Delivers items in order, each whole or not at all, each id once; stops at the first that fails.
--
-- KEYS: the ledger of pictures; then four an item: stream, mark of delivery, picture, raw picture.
-- ARGV: seconds a mark lives, seconds a picture lives, bytes that all pictures may take, bytes of pictures to
-- remove beforehand, what comes before an id in the names of a picture and of a raw picture; then for each item:
-- its id, entries the stream keeps, picture and raw picture (empty: none), channel (empty: none), number of
-- strings that follow, and those: the entry's names and values in turn. The last value is what the channel is
-- told.
--
-- Gives how many are delivered, those of earlier times included; what was wrong with the channel, if anything
-- was; how many pictures were removed; the bytes of those that are kept; and how many of the bytes to remove
-- were not there. Fails with the first item's error if not even that was delivered.
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
local to_free, picture_names, raw_names = tonumber(ARGV[4]), ARGV[5], ARGV[6]
local at, delivered, unheard, removed = 7, 0, '', 0

local total -- the sum of all bytes written
-- Of the oldest there: its place, its size, the sum before it, its pictures' names.
local entry, oldest_size, before, picture_of, raw_of

local function look_at_oldest()
  local found = redis.call('ZRANGE', ledger, 0, 0, 'WITHSCORES')
  entry = found[1]
  if not entry then return end
  local size, id = string.match(entry, '^(%d+):(.*)$')
  oldest_size = tonumber(size or 0)
  before = tonumber(found[2]) - oldest_size
  picture_of, raw_of = picture_names .. (id or ''), raw_names .. (id or '')
end

local function open_ledger()
  total = tonumber(redis.call('ZRANGE', ledger, -1, -1, 'WITHSCORES')[2] or 0)
  for _ = 1, 1000 do -- at most so many at once: others wait for this script
    look_at_oldest()
    if not entry or redis.call('EXISTS', picture_of, raw_of) > 0 then return end
    redis.call('ZREM', ledger, entry)
  end
  look_at_oldest()
end

local function remove_oldest()
  removed = removed + math.min(1, redis.call('UNLINK', picture_of, raw_of))
  redis.call('ZREM', ledger, entry)
  look_at_oldest()
end

local function free(size)
  while entry and size > 0 do
    size = size - oldest_size
    remove_oldest()
  end
  return math.max(0, size)
end

local function make_room(size)
  while entry and total - before + size > budget do remove_oldest() end
end

local function keep_pictures(id, picture, raw, jpeg, raw_jpeg)
  local size = #jpeg + #raw_jpeg
  if size == 0 then return end
  make_room(size)
  if jpeg ~= '' then redis.call('SET', picture, jpeg, 'EX', picture_life) end
  if raw_jpeg ~= '' then redis.call('SET', raw, raw_jpeg, 'EX', picture_life) end
  local sum = total + size
  if redis.call('ZADD', ledger, 'NX', string.format('%.0f', sum), string.format('%d:%s', size, id)) == 1 then
    total = sum
  end
  if not entry then look_at_oldest() end
end

local function deliver(id, stream, mark, picture, raw, keep, jpeg, raw_jpeg, channel, fields)
  local earlier = redis.call('GET', mark)
  if earlier and earlier ~= 'begun' then
    redis.call('SET', mark, earlier, 'EX', mark_life) -- a write, so that a WAIT on a new connection waits for all
    return
  end
  keep_pictures(id, picture, raw, jpeg, raw_jpeg)
  redis.call('SET', mark, 'begun', 'EX', mark_life)
  local number = redis.call('XADD', stream, 'MAXLEN', '~', keep, '*', unpack(fields))
  redis.call('SET', mark, number, 'EX', mark_life)
  if channel ~= '' then
    local heard = redis.pcall('PUBLISH', channel, fields[#fields])
    if type(heard) == 'table' and heard.err then unheard = heard.err end
  end
end

local function failed(failure)
  if type(failure) == 'table' then return failure end
  return redis.error_reply(failure)
end

local sound, trouble = pcall(open_ledger)
if sound then sound, trouble = pcall(free, to_free) end
if not sound then return failed(trouble) end
local not_freed = trouble
for key = 2, #KEYS, 4 do
  local count = tonumber(ARGV[at + 5])
  local fields = {unpack(ARGV, at + 6, at + 5 + count)}
  local fine, failure = pcall(deliver, ARGV[at], KEYS[key], KEYS[key + 1], KEYS[key + 2], KEYS[key + 3],
    ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], fields)
  if not fine then
    if delivered == 0 then return failed(failure) end
    break
  end
  delivered = delivered + 1
  at = at + 6 + count
end
return {delivered, unheard, removed, entry and total - before or 0, not_freed}
