-- names(reported:<flag>|<variant>; `<content>|<target>`, packed {answers, {kind = {name = answers}}})
-- names(reported:<flag>|<variant>; `<content>|<target>`, kind, name, 1 where it was told)
-- → packed {learning, {kind = names known}, {{kind, names before, new name, seconds since, answers}…}}
--
-- What a target reports for one content. A first model's name is known at once; fingerprints rotate among a few values,
-- so within the first LEARN answers (or on the first day) one is known as soon as a known one comes again beside or after
-- it. Any other name is fresh until it has come with enough answers of the whole fleet; then it is *due*: told by whoever
-- may, and settled by the second form.
-- One kind is told once a day: what is new before that is known in silence. The only writer of KEYS[1].
local now = tonumber(redis.call('TIME')[1])
local LEARN, DAY, MONTH = 200, 86400, 2592000
local NEEDED = {model = 5, fingerprint = 20}
local KNOWN, FRESH = 8, 16

local raw = redis.call('HGET', KEYS[1], ARGV[1])
local fine, state = pcall(cmsgpack.unpack, raw or '')
if not raw or not fine or type(state) ~= 'table' then state = {since = now, answers = 0, known = {}, fresh = {}, told = {}} end
for _, part in ipairs({'known', 'fresh', 'told'}) do state[part] = state[part] or {} end

local function knows(kind, name)
  for _, each in ipairs(state.known[kind] or {}) do
    if each == name then return true end
  end
  return false
end

local function learn(kind, name)
  local known = state.known[kind] or {}
  table.insert(known, name)
  while #known > KNOWN do table.remove(known, 1) end
  state.known[kind] = known
  if state.fresh[kind] then state.fresh[kind][name] = nil end
end

local function met(kind, name, count)
  if knows(kind, name) then return end
  local known = state.known[kind] or {}
  if #known == 0 then return learn(kind, name) end
  local fresh = state.fresh[kind] or {}
  local held, many = fresh[name], 0
  for _ in pairs(fresh) do many = many + 1 end
  if not held and many >= FRESH then fresh = {} end
  held = held or {0, now}
  held[1] = held[1] + count
  fresh[name] = held
  state.fresh[kind] = fresh
  if held[1] >= NEEDED[kind] and now - (state.told[kind] or 0) < DAY then learn(kind, name) end
end

-- While it is learned what rotates: the old one came again, so what is new stands beside it and not in its place.
local function rotates(kind, names)
  if kind ~= 'fingerprint' or state.answers > LEARN or now - state.since >= DAY then return false end
  local old = #(state.known[kind] or {}) == 0
  for name in pairs(names) do old = old or knows(kind, name) end
  return old
end

local function learn_all(kind, names)
  local found = {}
  for name in pairs(names) do table.insert(found, name) end
  for name in pairs(state.fresh[kind] or {}) do table.insert(found, name) end
  for _, name in ipairs(found) do
    if not knows(kind, name) then learn(kind, name) end
  end
end

if #ARGV == 4 then
  if not knows(ARGV[2], ARGV[3]) then learn(ARGV[2], ARGV[3]) end
  if ARGV[4] == '1' then state.told[ARGV[2]] = now end
else
  local given = cmsgpack.unpack(ARGV[2])
  for kind, names in pairs(given[2]) do
    if NEEDED[kind] and rotates(kind, names) then
      learn_all(kind, names)
    elseif NEEDED[kind] then
      for name, count in pairs(names) do met(kind, name, count) end
    end
  end
  state.answers = math.min(state.answers + given[1], 1000000)
end
redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(state))
redis.call('EXPIRE', KEYS[1], MONTH)

local due = {}
for kind, fresh in pairs(state.fresh) do
  for name, held in pairs(fresh) do
    if held[1] >= NEEDED[kind] then table.insert(due, {kind, state.known[kind] or {}, name, held[2], held[1]}) end
  end
end
local learning = state.answers <= LEARN and now - state.since < DAY
return cmsgpack.pack({learning, {state.known.model or {}, state.known.fingerprint or {}}, due})
