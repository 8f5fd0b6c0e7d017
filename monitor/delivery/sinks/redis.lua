-- Delivers messages in order, each whole or not at all, each once; stops at the first that fails.
--
-- KEYS: the image ledger, the high-water mark; then for each message: stream, image, raw image.
-- ARGV: seconds the mark lives, seconds an image lives, bytes that all images may take, bytes of images to remove
-- beforehand, what precedes an id in the names of an image and of a raw image; then for each message: its id, its
-- run, its number in the run, entries the stream holds, image and raw image (empty: none), channel (empty: none),
-- number of strings that follow, and those: the entry's names and values in turn. The last value is what is
-- published to the channel.
--
-- Returns how many are delivered, those of earlier calls included; the error of the channel, if any; how many
-- images were removed; the bytes of those that are stored; and how many of the bytes to remove were not there.
-- Fails with the first message's error if not even that was delivered.
--
-- The mark is a hash with a field for each run: the highest number delivered. Numbers of a run only grow, so what
-- is at or below it was delivered. Of more than 16 runs, those that are not in this call lose their field: what
-- they left has been acknowledged, because the outbox delivers in order.
--
-- A script is not rolled back: what fails must fail before the stream has the entry. So the images and a write of
-- the mark's old value come first, which shows that these keys may be written; then the entry; then the mark's
-- new value, by the same command. A message that failed in between is delivered again, whole.
--
-- The ledger is a sorted set of `<bytes>:<id>`, in the order of writing. The score is the sum of all bytes
-- written so far, so the difference of two scores is what was written in between, and no count can drift.
-- An image that expired, or that the server evicted, leaves the ledger when it is the oldest there. Images
-- that are removed are named by the ledger, not by KEYS: they have the prefix, so they lie in the same slot.

local ledger, mark, mark_life, image_life, budget = KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3])
local to_free, image_names, raw_names = tonumber(ARGV[4]), ARGV[5], ARGV[6]
local at, delivered, channel_error, removed = 7, 0, '', 0

local total -- the sum of all bytes written
-- Of the oldest there: its member, its size, the sum before it, its images' names.
local entry, oldest_size, before, image_of, raw_of

local function read_oldest()
  local found = redis.call('ZRANGE', ledger, 0, 0, 'WITHSCORES')
  entry = found[1]
  if not entry then return end
  local size, id = string.match(entry, '^(%d+):(.*)$')
  oldest_size = tonumber(size or 0)
  before = tonumber(found[2]) - oldest_size
  image_of, raw_of = image_names .. (id or ''), raw_names .. (id or '')
end

local function open_ledger()
  total = tonumber(redis.call('ZRANGE', ledger, -1, -1, 'WITHSCORES')[2] or 0)
  for _ = 1, 1000 do -- at most so many in one call: other clients wait for this script
    read_oldest()
    if not entry or redis.call('EXISTS', image_of, raw_of) > 0 then return end
    redis.call('ZREM', ledger, entry)
  end
  read_oldest()
end

local function remove_oldest()
  removed = removed + math.min(1, redis.call('UNLINK', image_of, raw_of))
  redis.call('ZREM', ledger, entry)
  read_oldest()
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

local function store_images(id, image, raw, jpeg, raw_jpeg)
  local size = #jpeg + #raw_jpeg
  if size == 0 then return end
  make_room(size)
  if jpeg ~= '' then redis.call('SET', image, jpeg, 'EX', image_life) end
  if raw_jpeg ~= '' then redis.call('SET', raw, raw_jpeg, 'EX', image_life) end
  local sum = total + size
  if redis.call('ZADD', ledger, 'NX', string.format('%.0f', sum), string.format('%d:%s', size, id)) == 1 then
    total = sum
  end
  if not entry then read_oldest() end
end

local function set_mark(run, number)
  redis.call('HSET', mark, run, number)
  redis.call('EXPIRE', mark, mark_life)
end

local function forget_other_runs()
  if redis.call('HLEN', mark) <= 16 then return end
  local runs, position = {}, at
  while position <= #ARGV do
    runs[ARGV[position + 1]] = true
    position = position + 8 + tonumber(ARGV[position + 7])
  end
  for _, run in ipairs(redis.call('HKEYS', mark)) do
    if not runs[run] then redis.call('HDEL', mark, run) end
  end
end

local function deliver(id, run, number, stream, image, raw, limit, jpeg, raw_jpeg, channel, fields)
  local earlier = redis.call('HGET', mark, run) or '-1'
  set_mark(run, earlier) -- a write in any case, so that a WAIT on a new connection waits for all
  if tonumber(earlier) >= tonumber(number) then return end
  store_images(id, image, raw, jpeg, raw_jpeg)
  redis.call('XADD', stream, 'MAXLEN', '~', limit, '*', unpack(fields))
  set_mark(run, number)
  if channel ~= '' then
    local heard = redis.pcall('PUBLISH', channel, fields[#fields])
    if type(heard) == 'table' and heard.err then channel_error = heard.err end
  end
end

local function failed(failure)
  if type(failure) == 'table' then return failure end
  return redis.error_reply(failure)
end

local fine, result = pcall(open_ledger)
if fine then fine, result = pcall(free, to_free) end
if not fine then return failed(result) end
local not_freed = result
if #KEYS > 2 then
  fine, result = pcall(forget_other_runs)
  if not fine then return failed(result) end
end
for key = 3, #KEYS, 3 do
  local count = tonumber(ARGV[at + 7])
  local fields = {unpack(ARGV, at + 8, at + 7 + count)}
  fine, result = pcall(deliver, ARGV[at], ARGV[at + 1], ARGV[at + 2], KEYS[key], KEYS[key + 1], KEYS[key + 2],
    ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], fields)
  if not fine then
    if delivered == 0 then return failed(result) end
    break
  end
  delivered = delivered + 1
  at = at + 8 + count
end
return {delivered, channel_error, removed, entry and total - before or 0, not_freed}
