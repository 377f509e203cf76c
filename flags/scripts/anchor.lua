-- anchor(anchor;
--        revision, hash,                    the anchor that the writer went on from ("0" and "" where there was none)
--        new revision, new hash, size, frontier)
-- → 1, or 0 where another was faster: it read the same entries
--
-- The only writer of anchor.
local found = redis.call('HMGET', KEYS[1], 'revision', 'hash')
if (found[1] or '0') ~= ARGV[1] or (found[2] or '') ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'revision', ARGV[3], 'hash', ARGV[4], 'size', ARGV[5], 'frontier', ARGV[6])
return 1
