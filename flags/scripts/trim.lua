-- trim(ledger, checkpoint;
--      revision,                          of the checkpoint that the writer read ("0" where there was none)
--      new revision, new hash,            the checkpoint to be: the last entry that goes
--      document, parts, tallies,          the whole of it, and two of its fields once more
--      entry,                             that entry, to the byte
--      next revision)                     the first that stays
-- → "trimmed" | "already" | "moved" (another archived meanwhile) | "differs" (the entry is not the one that was archived)
--
-- The only writer of checkpoint, and the only one that takes entries out of the ledger. The checkpoint comes first:
-- without it nobody could check what is left.
local revision = redis.call('HGET', KEYS[2], 'revision') or '0'
if revision == ARGV[2] then
  return 'already'
end
if revision ~= ARGV[1] then
  return 'moved'
end
local found = redis.call('XRANGE', KEYS[1], ARGV[2] .. '-0', ARGV[2] .. '-0')
if not found[1] or found[1][2][2] ~= ARGV[7] then
  return 'differs'
end
redis.call('HSET', KEYS[2], 'revision', ARGV[2], 'hash', ARGV[3], 'document', ARGV[4], 'parts', ARGV[5],
  'tallies', ARGV[6])
redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[8] .. '-0')
return 'trimmed'
