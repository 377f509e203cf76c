-- flush(totals, batch:<worker>, requests, request_order, decisions, breaking;
--       the keys' prefix, batch)
-- → {1 or 0 where this batch was counted before, milliseconds of Redis' clock, scores that were known,
--    {case, evidence as a flat list, {policy id, {second…}…}, …},
--    {route|target, calls, failures, workers that saw failures, …}}
--
-- Counts one batch (policies/counts.py, MessagePack, read by position) once: a number of a worker's that is not above
-- its last one adds nothing and gets the same answer. The only writer of all keys that it names: besides KEYS, under
-- the prefix and in the same slot, evidence:<case>, units:<case>:<policy id>, seconds:<case>:<policy id>, window:<minute>,
-- scored:<day>. policies/tally.py defines how a gain is added; here it is done again, to the letter.
-- The number is noted first: whatever stops the script half-way (want of memory), nothing is counted twice.
-- What is no number, unknown or not to be read is passed over: an error would come back with every flush.
local now = redis.call('TIME')
local seconds = tonumber(now[1])
local milliseconds = seconds * 1000 + math.floor(tonumber(now[2]) / 1000)
local TOTALS, BATCH, REQUESTS, ORDER, DECISIONS, BREAKING = unpack(KEYS)
local PREFIX = ARGV[1]

local WEEK, DAY, HOUR = 604800, 86400, 3600
local SUBJECTS_KEPT = 20000     -- fields of totals: some 20 MB
local UNITS_KEPT = 50000        -- members of a policy's set: some 5 MB
local UNITS_MILLISECONDS, UNITS_LEAST = 3600000, 1000  -- tally's
local SEGMENTS_KEPT = 60        -- evidence.SEGMENTS_KEPT
local UNITS_ENOUGH = 20         -- tally.UNITS_ENOUGH
local SECONDS_KEPT, BETS_KEPT = 3600, 500
local SECONDS_TOLD = 600        -- of a threshold, with the answer
local REQUESTS_KEPT = 100000    -- CONTRACT §2
local SCORES_KEPT = 1000000     -- a day
local MOST_LOG, MOST_COUNT = 690, 1e15  -- as in evidence.py
local CHUNK = 1000              -- arguments of one command: Lua's stack ends at 8,000

local function number(value)
  value = tonumber(value)
  if not value or value ~= value or value == math.huge or value == -math.huge then return 0 end
  return value
end

local function list(value) return type(value) == 'table' and value or {} end

local function packed(text)
  local fine, value = pcall(cmsgpack.unpack, text or '')
  return fine and type(value) == 'table' and value or nil
end

local function add_each(sums, more)
  for i = 1, math.max(#sums, #more) do sums[i] = number(sums[i]) + number(more[i]) end
  return sums
end

local function format(value) return string.format('%.17g', value) end

-- What people see

-- One field for each subject, not for each number: with every flush some hundred numbers change for one.
local function add_to(key, subject, measures)
  local held = packed(redis.call('HGET', key, subject))
  if not held and redis.call('HLEN', key) >= SUBJECTS_KEPT then return end
  held = held or {}
  for measure, value in pairs(measures) do held[measure] = number(held[measure]) + number(value) end
  redis.call('HSET', key, subject, cmsgpack.pack(held))
end

local function add_series(series)
  local window = PREFIX .. 'window:' .. math.floor(seconds / 60)
  for subject, measures in pairs(list(series)) do
    if type(subject) == 'string' and type(measures) == 'table' and next(measures) then
      add_to(TOTALS, subject, measures)
      add_to(window, subject, measures)
    end
  end
  redis.call('EXPIRE', window, 6 * HOUR)
end

-- What is judged. `units` is the key of the set of those that one policy counted in one case.
local function new_mass(units, event, listed)
  local mass = 0
  for i = 1, #listed - 1, 2 do
    if redis.call('SADD', units, event .. '|' .. tostring(listed[i])) == 1 then
      mass = mass + number(listed[i + 1])
    end
  end
  return mass
end

-- An event of a segment: candidate, control, the candidate's units, the control's.
local function add_event(units, index, event, gain)
  local control = new_mass(units, index, list(gain[6]))
  local candidate = new_mass(units, index, list(gain[5]))
  return {number(event[1]) + number(gain[1]), number(event[2]) + number(gain[2]),
    number(event[3]) + number(gain[3]) + candidate, number(event[4]) + number(gain[4]) + control}
end

-- Begin the next memory of units where this one is full, old or lost; `#` in the set tells that it is there. Whichever
-- way a clock has jumped.
local function remember(units, head)
  local held = redis.call('SCARD', units) - 1
  local old = math.abs(milliseconds - head[4]) >= UNITS_MILLISECONDS
  if held < 0 or held >= UNITS_KEPT or (old and held >= UNITS_LEAST) then
    redis.call('DEL', units)
    redis.call('SADD', units, '#')
    head[4], head[5] = milliseconds, head[5] + 1
  end
  redis.call('EXPIRE', units, DAY)
end

-- evidence.closes, for any event. The head: the last segment's number, all n, all control mass by event, the
-- milliseconds when the memory of units began, its number.
local function closes(segment, head)
  for i, event in ipairs(segment[5]) do
    if segment[2] >= math.max(200, 0.25 * head[2]) or event[2] >= math.max(50, 0.25 * number(head[3][i])) then
      return true
    end
  end
  return false
end

-- A segment: weight, n, bad, bets, events, the number of the memory of units.
local function add_trial(state, policy, gain, weight)
  local head = packed(redis.call('HGET', state.key, 'h|' .. policy)) or {0, 0, {}}
  head[4], head[5] = number(head[4]), number(head[5])
  local units = PREFIX .. 'units:' .. state.case .. ':' .. policy
  remember(units, head)
  local segment = head[1] > 0 and packed(redis.call('HGET', state.key, 's|' .. policy .. '|' .. head[1]))
  if not segment or segment[1] ~= weight or segment[6] ~= head[5] or closes(segment, head) then
    head[1] = head[1] + 1
    segment = {weight, 0, 0, {}, {}, head[5]}
    redis.call('HDEL', state.key, 's|' .. policy .. '|' .. head[1] - SEGMENTS_KEPT)
  end
  segment[2] = segment[2] + number(gain[3])
  segment[3] = segment[3] + number(gain[4])
  add_each(segment[4], list(gain[7]))
  head[2] = head[2] + number(gain[3])
  for i, event in ipairs(list(gain[8])) do
    segment[5][i] = add_event(units, i, list(segment[5][i]), list(event))
    head[3][i] = number(head[3][i]) + number(list(event)[2])
  end
  redis.call('HSET', state.key, 's|' .. policy .. '|' .. head[1], cmsgpack.pack(segment),
    'h|' .. policy, cmsgpack.pack(head))
end

-- evidence.advance: R = (R + 1)·L, in logarithms, at each point of the grid or for each bet.
local function advance(statistic, second, odds)
  local factors = {}
  if #odds > 0 then
    local n = math.min(math.max(second[2], 0), MOST_COUNT)
    local bad = math.min(math.max(second[3], 0), n)
    for i = 1, #odds - 1, 2 do
      factors[#factors + 1] = bad * number(odds[i]) + (n - bad) * number(odds[i + 1])
    end
  else
    for i = 1, 7 do factors[i] = number(second[4][i]) end
  end
  local old = #statistic == #factors and statistic or {}
  for i, factor in ipairs(factors) do
    factors[i] = math.exp(math.min(MOST_LOG, math.log(1 + math.max(0, number(old[i]))) + factor))
  end
  return factors
end

-- The running second: second, n, bad, bets, the control's n and bad. `d|<policy>`: kind, running second, detector.
local function add_second(state, policy, gain, weight, kind)
  local segment = packed(redis.call('HGET', state.key, 's|' .. policy .. '|1')) or {weight, 0, 0, {}, {}}
  segment[2] = segment[2] + number(gain[3])
  segment[3] = segment[3] + number(gain[4])
  local held = packed(redis.call('HGET', state.key, 'd|' .. policy)) or {kind, {seconds, 0, 0, {}, 0, 0}, {}}
  local running, detector = held[2], held[3]
  if running[1] ~= seconds then
    if kind == 'watch' then detector = advance(detector, running, list(gain[9])) end
    local finished = PREFIX .. 'seconds:' .. state.case .. ':' .. policy
    redis.call('RPUSH', finished, cmsgpack.pack(running))
    redis.call('LTRIM', finished, #running[4] > 0 and -BETS_KEPT or -SECONDS_KEPT, -1)
    redis.call('EXPIRE', finished, WEEK)
    running = {seconds, 0, 0, {}, 0, 0}
  end
  running[2] = running[2] + number(gain[3])
  running[3] = running[3] + number(gain[4])
  add_each(running[4], list(gain[7]))
  running[5] = running[5] + number(gain[5])
  running[6] = running[6] + number(gain[6])
  redis.call('HSET', state.key, 's|' .. policy .. '|1', cmsgpack.pack(segment),
    'd|' .. policy, cmsgpack.pack({kind, running, detector}))
end

local function meet(state, names, plain)
  local known = number(redis.call('HGET', state.key, 'named'))
  local before = known
  for _, name in ipairs(names) do
    if known < UNITS_ENOUGH and redis.call('HSETNX', state.key, 'm|' .. tostring(name), 1) == 1 then
      known = known + 1
    end
  end
  if known > before or plain > 0 then
    redis.call('HSET', state.key, 'named', known)
    redis.call('HINCRBYFLOAT', state.key, 'plain', format(plain))
  end
end

local function add_case(gain)
  local case, weight = tostring(gain[1]), number(gain[2])
  local state = {case = case, key = PREFIX .. 'evidence:' .. case}
  redis.call('HSETNX', state.key, 'since', format(milliseconds))
  if redis.call('HGET', state.key, 'weight') ~= format(weight) then
    redis.call('HSET', state.key, 'weight', format(weight), 'candidate', 0, 'control', 0)
  end
  redis.call('HINCRBYFLOAT', state.key, 'candidate', format(number(gain[3])))
  redis.call('HINCRBYFLOAT', state.key, 'judged', format(number(gain[3])))
  redis.call('HINCRBYFLOAT', state.key, 'control', format(number(gain[4])))
  meet(state, list(gain[6]), number(gain[5]))
  for _, each in ipairs(list(gain[7])) do
    local policy, kind = tostring(list(each)[1]), list(each)[2]
    if kind == 'trial' then
      add_trial(state, policy, each, weight)
    elseif kind == 'watch' or kind == 'threshold' then
      add_second(state, policy, each, weight, kind)
    end
  end
  redis.call('EXPIRE', state.key, WEEK)
end

local function add_cases(gains)
  for _, gain in ipairs(list(gains)) do
    if type(gain) == 'table' and gain[1] then add_case(gain) end
  end
end

-- Scores: a score of the last 8 days is not counted again (a decision token is good for 7).
local function is_new(key)
  local today = math.floor(seconds / DAY)
  for day = today - 7, today do
    if redis.call('SISMEMBER', PREFIX .. 'scored:' .. day, key) == 1 then return false end
  end
  local set = PREFIX .. 'scored:' .. today
  if redis.call('SCARD', set) >= SCORES_KEPT then return false end
  redis.call('SADD', set, key)
  redis.call('EXPIRE', set, 8 * DAY)
  return true
end

local function add_scores(scores)
  local known = 0
  for _, score in ipairs(list(scores)) do
    if is_new(tostring(list(score)[1])) then
      add_series(score[2])
      add_cases(score[3])
    else
      known = known + 1
    end
  end
  return known
end

-- The request index. requests: id → `<number in decisions>/<second of it>/<unit>`; request_order: ids, oldest first;
-- decisions: `#` the last number, and by number `t<number>` → text, `n<text>` → number, `c<number>` → requests that it answered.
local function count_decisions(changes)
  for which, change in pairs(changes) do
    if redis.call('HINCRBY', DECISIONS, 'c' .. which, change) <= 0 then
      local text = redis.call('HGET', DECISIONS, 't' .. which)
      redis.call('HDEL', DECISIONS, 'c' .. which, 't' .. which)
      if text then redis.call('HDEL', DECISIONS, 'n' .. text) end
    end
  end
end

local function release(values, changes)
  for _, value in ipairs(values) do
    local which = value and string.match(value, '^(%d+)/')
    if which then changes[which] = (changes[which] or 0) - 1 end
  end
end

local function number_of(text)
  local known = redis.call('HGET', DECISIONS, 'n' .. text)
  if known then return known end
  known = format(redis.call('HINCRBY', DECISIONS, '#', 1))
  redis.call('HSET', DECISIONS, 'n' .. text, known, 't' .. known, text)
  return known
end

local function index_chunk(ids, fields, which, changes)
  release(redis.call('HMGET', REQUESTS, unpack(ids)), changes)
  changes[which] = (changes[which] or 0) + #ids
  redis.call('HSET', REQUESTS, unpack(fields))
  redis.call('RPUSH', ORDER, unpack(ids))
end

local function add_requests(text, words, changes)
  local which = number_of(text)
  local ids, fields, seen = {}, {}, {}
  for word in string.gmatch(words, '%S+') do
    local id, age, unit = string.match(word, '^([^/]+)/(%d+)/(.*)$')
    if id and not seen[id] then
      seen[id] = true
      ids[#ids + 1] = id
      fields[#fields + 1] = id
      fields[#fields + 1] = which .. '/' .. format(seconds - age) .. '/' .. unit
      if #ids == CHUNK then
        index_chunk(ids, fields, which, changes)
        ids, fields = {}, {}
      end
    end
  end
  if #ids > 0 then index_chunk(ids, fields, which, changes) end
end

local function forget_requests(changes)
  local over = redis.call('LLEN', ORDER) - REQUESTS_KEPT
  while over > 0 do
    local ids = redis.call('LPOP', ORDER, math.min(over, CHUNK))
    release(redis.call('HMGET', REQUESTS, unpack(ids)), changes)
    redis.call('HDEL', REQUESTS, unpack(ids))
    over = over - CHUNK
  end
end

local function index_requests(requests)
  local changes = {}
  for _, each in ipairs(list(requests)) do
    local fine = type(each) == 'table' and type(each[1]) == 'string' and type(each[2]) == 'string'
    if fine and string.find(each[2], '%S') then
      add_requests(each[1], each[2], changes)
    end
  end
  forget_requests(changes)
  count_decisions(changes)
end

-- Breakers: in `breaking`, by route|target, four buckets of 10 s at most: bucket, calls, failures, workers that saw one.
local function recent(target)
  local found, this = {}, math.floor(seconds / 10)
  for _, bucket in ipairs(packed(redis.call('HGET', BREAKING, target)) or {}) do
    if bucket[1] > this - 3 and bucket[1] <= this then found[#found + 1] = bucket end
  end
  return found, this
end

local function add_breaker(target, calls, failures, worker)
  local buckets, this = recent(target)
  local last = buckets[#buckets]
  if not last or last[1] ~= this then
    last = {this, 0, 0, {}}
    buckets[#buckets + 1] = last
  end
  last[2] = last[2] + calls
  last[3] = last[3] + failures
  if failures > 0 then
    local seen = false
    for _, name in ipairs(last[4]) do seen = seen or name == worker end
    if not seen and #last[4] < 64 then last[4][#last[4] + 1] = worker end
  end
  redis.call('HSET', BREAKING, target, cmsgpack.pack(buckets))
end

local function breaker_sums(target)
  local calls, failures, workers, seen = 0, 0, 0, {}
  for _, bucket in ipairs((recent(target))) do
    calls, failures = calls + bucket[2], failures + bucket[3]
    for _, name in ipairs(bucket[4]) do
      workers = workers + (seen[name] and 0 or 1)
      seen[name] = true
    end
  end
  return calls, failures, workers
end

local function add_breakers(breakers, worker)
  local any = false
  for target, sums in pairs(breakers) do
    any = true
    add_breaker(target, number(list(sums)[1]), number(list(sums)[2]), worker)
  end
  if any then redis.call('EXPIRE', BREAKING, 60) end
end

-- The answer
local function told(case, answer, seen)
  if seen[case] then return end
  seen[case] = true
  local fields = redis.call('HGETALL', PREFIX .. 'evidence:' .. case)
  local windows = {}
  for i = 1, #fields, 2 do
    local policy = string.match(fields[i], '^d|(.*)$')
    local state = policy and packed(fields[i + 1])
    if state and state[1] == 'threshold' then
      windows[#windows + 1] = policy
      windows[#windows + 1] = redis.call('LRANGE', PREFIX .. 'seconds:' .. case .. ':' .. policy, -SECONDS_TOLD, -1)
    end
  end
  for _, value in ipairs({case, fields, windows}) do answer[#answer + 1] = value end
end

local batch = packed(ARGV[2]) or {}
local worker, order = tostring(batch[1]), number(batch[2])
local new, known = order > number(redis.call('GET', BATCH)), 0
if new then
  redis.call('SET', BATCH, format(order), 'EX', DAY)
  add_series(batch[3])
  add_cases(batch[4])
  index_requests(batch[5])
  known = add_scores(batch[6])
  add_breakers(list(batch[7]), worker)
end

local cases, seen = {}, {}
for _, gain in ipairs(list(batch[4])) do told(tostring(list(gain)[1]), cases, seen) end
for _, score in ipairs(list(batch[6])) do
  for _, gain in ipairs(list(list(score)[3])) do told(tostring(list(gain)[1]), cases, seen) end
end
local breakers = {}
for target in pairs(list(batch[7])) do
  local calls, failures, workers = breaker_sums(target)
  for _, value in ipairs({target, calls, failures, workers}) do breakers[#breakers + 1] = value end
end
return {new and 1 or 0, milliseconds, known, cases, breakers}
