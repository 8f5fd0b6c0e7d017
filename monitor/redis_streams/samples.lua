-- Stores the file of a sample and its entry, and removes the oldest files beyond the limit.
--
-- KEYS: the stream, the ledger, the file. ARGV: entries the stream holds, seconds a file lives, bytes that all files may
-- take, what precedes an id in the name of a file; id, camera, document and file of the sample.
--
-- The ledger is a sorted set of `<bytes>:<id>`. The score is the sum of all bytes stored so far, so the difference of two
-- scores is what was stored in between, and no count can drift. A file that expired leaves it when it is the oldest.

local stream, ledger, file = unpack(KEYS)
local entries, life, budget, names, id, camera, document, png = unpack(ARGV)
local sum = tonumber(redis.call('ZRANGE', ledger, -1, -1, 'WITHSCORES')[2] or 0) + #png

while true do
  local oldest = redis.call('ZRANGE', ledger, 0, 0, 'WITHSCORES')
  if not oldest[1] then break end
  local size, old = string.match(oldest[1], '^(%d+):(.*)$')
  local fits = sum - (tonumber(oldest[2]) - tonumber(size)) <= tonumber(budget)
  if fits and redis.call('EXISTS', names .. old) == 1 then break end
  redis.call('UNLINK', names .. old)
  redis.call('ZREM', ledger, oldest[1])
end
redis.call('SET', file, png, 'EX', life)
redis.call('ZADD', ledger, string.format('%.0f', sum), string.format('%d:%s', #png, id))
redis.call('XADD', stream, 'MAXLEN', '~', entries, '*', 'id', id, 'camera', camera, 'sample', document)
