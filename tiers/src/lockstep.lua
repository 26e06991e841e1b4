#!lua name=lockstep1
-- The rules by which entries change (docs/protocol.md, "The functions"). One call is atomic, on the node and in
-- replication; everything that must be compared is compared before anything is written.
--
-- Positions are text of fixed width, so that comparing texts compares positions; never turn one into a number.
--   _w      {tag}:_w   pos, offset, floor, timeline, at; on L2 also l3_owner, l3_begun, l3, l3_offset; counters
--   entry   a hash, one field a column, and _low, _high, _born, or _neg (absence)
--   marker  <entry>:_lease, a text: pos, nonce. It never lies beside a living entry [14].
--   claims  {tag}:_lease, a text: run, NUL, then in their order bookmarks (NUL, pos, nonce, NUL), and names that were
--           touched (name, NUL)

local LEAST = '0000-0000000000000000-00000000'
local WIDTH = #LEAST

-- Runs are nonces. Beyond so many bytes of claims the older half is forgotten; beyond so many more, all of them.
local NONCE = 32
local CLAIMS_BYTES, CLAIMS_BYTES_MAX = 16 * 1024, 128 * 1024
local SEVERAL_RUNS = '********************************'

-- A call blocks its node, and `unpack` fails at 8,000. Refused before anything is written.
local KEYS_MAX, ARGUMENTS_MAX, BYTES_MAX = 128, 4000, 320 * 1024

local function too_large(KEYS, ARGV)
  if #KEYS > KEYS_MAX then return redis.error_reply('LIMIT more than ' .. KEYS_MAX .. ' keys') end
  if #ARGV > ARGUMENTS_MAX then return redis.error_reply('LIMIT more than ' .. ARGUMENTS_MAX .. ' arguments') end
  local bytes = 0
  for i = 1, #ARGV do bytes = bytes + #ARGV[i] end
  if bytes > BYTES_MAX then return redis.error_reply('LIMIT more than ' .. BYTES_MAX .. ' bytes') end
end

local function watermark(w)
  local h = redis.call('HMGET', w, 'pos', 'floor', 'timeline')
  return h[1] or LEAST, h[2] or LEAST, h[3] or ''
end

-- What is under a key: its bounds where there is a living entry. What lies below the floor is as good as gone.
local function living(key, floor)
  local h = redis.pcall('HMGET', key, '_low', '_high', '_neg')
  if h.err then                                             -- somebody else's value under our name
    redis.call('UNLINK', key)
    return nil
  end
  if not h[1] then return nil end
  if h[1] < floor then
    redis.call('UNLINK', key)
    return nil
  end
  return h[1], h[2], h[3]
end

-- Whether an entry has lived for too long, by the clocks of who filled it and of this node: no promise rests on it.
local function aged(key, age_ms)
  local born, now = tonumber(redis.call('HGET', key, '_born') or ''), redis.call('TIME')
  return born and now[1] * 1000000 + now[2] - born > age_ms * 1000
end

-- Writes a marker, `pos .. nonce`, where there is none, and says whether it did.
local function grant(marker, text, lease_ms)
  return redis.call('SET', marker, text, 'NX', 'PX', lease_ms)
end

-- Writes an entry in the place of whatever is there. It comes as `RESTORE` takes it: one text, not two for each field.
local function replace(entry, ttl_ms, whole)
  redis.call('RESTORE', entry, ttl_ms, whole, 'REPLACE')
end

-- Every other key, from one of them on.
local function every_other(KEYS, first)
  local some = {}
  for k = first, #KEYS, 2 do some[#some + 1] = KEYS[k] end
  return some
end

-- Takes entries out of all claims that there are, for somebody was granted them, or changed them [19a-19c]: every other
-- key, from one of them on.
local function touch(claims, KEYS, first)
  if not KEYS[first] or redis.call('EXISTS', claims) == 0 then return end
  local bytes = redis.pcall('APPEND', claims, table.concat(every_other(KEYS, first), '\0') .. '\0')
  if type(bytes) ~= 'number' or bytes > CLAIMS_BYTES_MAX then redis.call('UNLINK', claims) end
end

-- KEYS _w, claims, entry, marker.  ARGV nonce, lease_ms, slide_ms (0: the view does not slide), age_ms_max (0, or none: any age)
-- -> {'hit', pos, timeline, at, begun, field, value, ...} | {'busy', pos, timeline, at, begun} | {'lease', ...}
local function read(KEYS, ARGV)
  local pos, floor, timeline = watermark(KEYS[1])
  local more = redis.call('HMGET', KEYS[1], 'at', 'l3_begun')
  local answer = { 'hit', pos, timeline, more[1] or '0', more[2] or '' }
  local low, age_ms = living(KEYS[3], floor), tonumber(ARGV[4] or '0')
  if low and age_ms > 0 and aged(KEYS[3], age_ms) then
    redis.call('UNLINK', KEYS[3])
    low = nil
  end
  if low then
    if ARGV[3] ~= '0' then redis.call('PEXPIRE', KEYS[3], ARGV[3]) end
    for _, text in ipairs(redis.call('HGETALL', KEYS[3])) do answer[#answer + 1] = text end
    return answer
  end
  answer[1] = 'busy'
  if grant(KEYS[4], pos .. ARGV[1], ARGV[2]) then
    answer[1] = 'lease'
    touch(KEYS[2], KEYS, 3)                                 -- a claim gives way to whoever wants the entry now
  end
  return answer
end

-- KEYS _w, claims, then entry, marker of each.  ARGV nonce, run, lease_ms
-- -> {pos, timeline, bookmark, a word for each: 'hit' | 'busy' | 'claim'; none: all are claimed}
local function claim(KEYS, ARGV)
  local refused = too_large(KEYS, ARGV)
  if refused then return refused end
  local pos, floor, timeline = watermark(KEYS[1])
  local words = {}
  if redis.call('EXISTS', unpack(KEYS, 3)) > 0 then
    for k = 3, #KEYS, 2 do
      if living(KEYS[k], floor) then
        words[#words + 1] = 'hit'
      else
        words[#words + 1] = redis.call('EXISTS', KEYS[k + 1]) == 0 and 'claim' or 'busy'
      end
    end
  end
  local was, run, bookmark = redis.pcall('GETRANGE', KEYS[2], 0, NONCE - 1), ARGV[2], pos .. ARGV[1]
  if type(was) ~= 'string' then                             -- somebody else's value under our name
    if not was.err:find('WRONGTYPE', 1, true) then return was end
    was = ''
  end
  if was ~= '' and was ~= run then run = SEVERAL_RUNS end
  if was == SEVERAL_RUNS then touch(KEYS[2], KEYS, 3) end   -- one run claims nothing twice at a time; two might [19c]
  local bytes = was == run and redis.call('STRLEN', KEYS[2]) or 0
  if bytes > 0 and bytes <= CLAIMS_BYTES then
    redis.call('APPEND', KEYS[2], '\0' .. bookmark .. '\0')
    redis.call('PEXPIRE', KEYS[2], ARGV[3])
  else                                                      -- what was claimed before is void; of one run, what is old
    local kept = ''
    if was == SEVERAL_RUNS then
      run = ARGV[2]
    elseif bytes > 0 then
      kept = redis.call('GETRANGE', KEYS[2], -CLAIMS_BYTES / 2, -1)
      kept = kept:sub((kept:find('\0\0', 1, true) or #kept) + 1)
    end
    redis.call('SET', KEYS[2], run .. '\0' .. kept .. '\0' .. bookmark .. '\0', 'PX', ARGV[3])
  end
  return { pos, timeline, bookmark, table.concat(words, ' ') }
end

-- KEYS _w, then entry, marker of each, none of them twice.
-- ARGV source_at, timeline, ttl_ms, nonce, low, then of each: the entry, whole
-- -> a word for each: 'ok' | 'void' (the lease is gone) | 'floor' | 'behind' | 'timeline'
local function fill(KEYS, ARGV)
  local refused = too_large(KEYS, ARGV)
  if refused then return refused end
  local _, floor, timeline = watermark(KEYS[1])
  local leases = redis.call('MGET', unpack(every_other(KEYS, 3)))
  local words, gone = {}, {}
  for k = 2, #KEYS, 2 do
    local lease, word = leases[k / 2], 'ok'
    if not lease or lease:sub(WIDTH + 1) ~= ARGV[4] then
      word = 'void'
    else
      gone[#gone + 1] = KEYS[k + 1]                         -- whatever comes, this lease is used up
      if ARGV[5] < floor then                               -- leased before a truncate, a new epoch, a lost node
        word = 'floor'
      elseif ARGV[1] < lease:sub(1, WIDTH) then             -- what was read lags what this tier has shown [3a-3e]
        word = 'behind'
      elseif timeline ~= '' and ARGV[2] ~= timeline then    -- read from a deposed primary [13e]
        word = 'timeline'
      end
    end
    words[k / 2] = word
  end
  if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
  for n, word in ipairs(words) do
    if word == 'ok' then replace(KEYS[2 * n], ARGV[3], ARGV[5 + n]) end   -- never into what is there [14i]
  end
  return table.concat(words, ' ')
end

-- KEYS _w, claims, then entries, none of them twice.
-- ARGV timeline, ttl_ms, bookmark, low, then of each: the entry, whole
-- -> a word for each: 'ok' | 'void' (the claim is gone) | 'floor' | 'timeline': `fill` of what was claimed, from the database
local function settle(KEYS, ARGV)
  local refused = too_large(KEYS, ARGV)
  if refused then return refused end
  local _, floor, timeline = watermark(KEYS[1])
  local claims, word = redis.pcall('GET', KEYS[2]), 'ok'
  if type(claims) ~= 'string' then claims = '' end
  local _, at = claims:find('\0\0' .. ARGV[3] .. '\0', 1, true)
  if not at then                                            -- they ran out, or began anew, or the node forgot them [19e]
    word = 'void'
  elseif ARGV[4] < floor then
    word = 'floor'
  elseif timeline ~= '' and ARGV[1] ~= timeline then
    word = 'timeline'
  end
  local touched = word == 'ok' and claims:sub(at) or ''
  if touched:sub(2):gsub('%z[^%z]*%z', '') == '' then touched = '' end      -- bookmarks alone
  local words = { string.rep(word .. ' ', #KEYS - 2) }
  for k = 3, #KEYS do
    if touched ~= '' then
      word = touched:find('\0' .. KEYS[k] .. '\0', 1, true) and 'void' or 'ok'
      words[k - 2] = word
    end
    -- What was claimed was missing, and is, unless this call is sent again: the node needs not look for it to remove it.
    if word == 'ok' and redis.pcall('RESTORE', KEYS[k], ARGV[2], ARGV[2 + k]).err then
      replace(KEYS[k], ARGV[2], ARGV[2 + k])
    end
  end
  return table.concat(words, ' ')
end

-- KEYS _w, claims (neither they nor what follows where there are no actions), then entry, marker of each action.
-- ARGV expect, new, offset, floor ('': keep), timeline ('': keep), at (0: keep), nonce, lease_ms, owner, begun ('': keep), l3 ('': keep),
--      l3_offset, then for each action: 'i' | 'r' position ttl_ms sets dels (field, value)*sets field*dels
--      | 'w' position ttl_ms and the entry, whole, with that position as its bounds
-- -> {'ok', refreshed, dropped, index of an entry that is now ours to fill, ...} | {'lost', pos, offset}
local function apply(KEYS, ARGV)
  local refused = too_large(KEYS, ARGV)
  if refused then return refused end
  local pos, floor, timeline = watermark(KEYS[1])
  local is_lost = pos ~= ARGV[1]                            -- compare first: this is the fence [6d, 7a]
  -- A call of another owner of L3's position would be taken without moving it: one that comes late [16g8, 16g10, 16n], or
  -- any, once a fail-over has forgotten the owner and left the position as it was [16o].
  if ARGV[9] ~= '' and redis.call('HGET', KEYS[1], 'l3_owner') ~= ARGV[9] then
    is_lost = true
  end
  if is_lost then
    return { 'lost', pos, redis.call('HGET', KEYS[1], 'offset') or '' }
  end
  if ARGV[4] ~= '' then floor = ARGV[4] end
  if ARGV[5] ~= '' then timeline = ARGV[5] end
  local refreshed, dropped, answer, at = 0, 0, { 'ok', 0, 0 }, 13
  touch(KEYS[2], KEYS, 3)
  for k = 3, #KEYS, 2 do
    local entry, marker, op = KEYS[k], KEYS[k + 1], ARGV[at]
    local low, high, negative = living(entry, floor)
    local drop = op == 'i'
    at = at + 1
    if not drop then
      local p, ttl, sets, dels, first = ARGV[at], ARGV[at + 1], 0, 0, at + 2
      if op == 'r' then
        sets, dels, first = tonumber(ARGV[first]), tonumber(ARGV[first + 1]), first + 2
        at = first + 2 * sets + dels
      elseif op == 'w' then
        at = first + 1
      else                                                  -- the watermark stays: nothing of it is taken for applied
        return redis.error_reply('ACTION ' .. tostring(op) .. ' is not known to this library')
      end
      if low and p <= low then                              -- already contained: it stays as it is
      elseif low and p > high and not negative then         -- no marker lies beside it [14]
        if op == 'w' then
          replace(entry, ttl, ARGV[first])
        else
          redis.call('HSET', entry, '_low', p, '_high', p, unpack(ARGV, first, first + 2 * sets - 1))
          if dels > 0 then redis.call('HDEL', entry, unpack(ARGV, first + 2 * sets, at - 1)) end
          redis.call('PEXPIRE', entry, ttl)
        end
        refreshed = refreshed + 1
      else
        drop = true                                         -- absent stays absent; in between we cannot tell [1a-1c]
      end
    end
    if drop then
      local gone = redis.call('UNLINK', entry)
      dropped = dropped + gone
      if gone + redis.call('UNLINK', marker) > 0 then       -- somebody wants it: ours to fill, so that nobody starves
        grant(marker, ARGV[2] .. ARGV[7], ARGV[8])
        answer[#answer + 1] = (k - 3) / 2
      end
    end
  end
  redis.call('HSET', KEYS[1], 'pos', ARGV[2], 'offset', ARGV[3], 'floor', floor, 'timeline', timeline)
  if ARGV[6] ~= '0' then redis.call('HSET', KEYS[1], 'at', ARGV[6]) end
  if refreshed > 0 then redis.call('HINCRBY', KEYS[1], 'refreshed', refreshed) end
  if dropped > 0 then redis.call('HINCRBY', KEYS[1], 'dropped', dropped) end
  if ARGV[9] ~= '' then                                     -- L3's position moves under its owner only
    if ARGV[10] ~= '' then redis.call('HSET', KEYS[1], 'l3_begun', ARGV[10]) end
    if ARGV[11] ~= '' then redis.call('HSET', KEYS[1], 'l3', ARGV[11], 'l3_offset', ARGV[12]) end
  end
  answer[2], answer[3] = refreshed, dropped
  return answer
end

-- KEYS _w.  ARGV expect, owner, l3, l3_offset: a new owner of L3's position, at a start and at each `lost`. The position
-- can only be lowered here, and is lowered before the replay begins [16e].
-- -> {'ok', l3, l3_offset} | {'lost', pos, offset}
local function own(KEYS, ARGV)
  local h = redis.call('HMGET', KEYS[1], 'pos', 'l3', 'l3_offset', 'offset')
  if (h[1] or LEAST) ~= ARGV[1] then return { 'lost', h[1] or LEAST, h[4] or '' } end
  local l3, offset = h[2] or ARGV[3], h[3] or ARGV[4]
  if ARGV[3] <= l3 then l3, offset = ARGV[3], ARGV[4] end  -- at the least of all, the newer offset is the better one
  redis.call('HSET', KEYS[1], 'l3_owner', ARGV[2], 'l3', l3, 'l3_offset', offset)
  return { 'ok', l3, offset }
end

-- KEYS _w, entries.  Removes what lies below the floor; all of it is dead already.
-- -> how many
local function sweep(KEYS, ARGV)
  local refused = too_large(KEYS, ARGV)
  if refused then return refused end
  local _, floor = watermark(KEYS[1])
  local swept = 0
  for k = 2, #KEYS do
    local low = redis.pcall('HGET', KEYS[k], '_low')          -- no text: it is gone, or not one of ours
    if type(low) == 'string' and low < floor then swept = swept + redis.call('UNLINK', KEYS[k]) end
  end
  if swept > 0 then redis.call('HINCRBY', KEYS[1], 'swept', swept) end
  return swept
end

redis.register_function('lockstep1_read', read)
redis.register_function('lockstep1_fill', fill)
redis.register_function('lockstep1_claim', claim)
redis.register_function('lockstep1_settle', settle)
redis.register_function('lockstep1_apply', apply)
redis.register_function('lockstep1_own', own)
redis.register_function('lockstep1_sweep', sweep)
