-- Ends a hold, or corrects one that the reaper has ended: one event carries the usage record and, where credits move, the
-- ledger entry, so that they cannot part. Expects `account`, `letter`, `charge`, `tokens` (or nil: nobody counted), `record`.
if found ~= 72 and (found ~= 88 or letter == 'X') then
  -- A repeat is told what happened the first time, and the balance as it is now.
  if not found then return pack(REPLY, 'U', 0, 0, posted, held) end
  local first_letter, first_charge = parse(ENDED, value)
  return pack(REPLY, first_letter, 1, first_charge, posted, held)
end

local cost, freed, ended, remembered, known_tokens, owner, taken, _ = charge, 0, 1, '600000', nil, nil, nil, nil
if found == 72 then
  _, freed, _, _, _, known_tokens, owner, taken = parse(HOLD, value)
else
  letter, ended = 'C', 0
  _, cost, known_tokens, owner, taken = parse(ENDED, value)
  cost = charge - cost
end
if letter == 'X' or letter == 'C' then remembered = '86400000' end
if owner ~= account then return redis.error_reply('ARGUMENT the hold belongs to another account') end
if not rows[2] then return redis.error_reply('ACCOUNT a hold without its account') end
if cost > MAX - spent or spent + cost < 0 then return redis.error_reply('RANGE above 2^53-1 microcredits spent') end

tokens = tokens or known_tokens
local changes, more, spare = { KEYS[2], '' }, cost - freed, known_tokens - tokens
-- include: correct, clock
local entry = 0
if cost ~= 0 then
  seq = seq + 1
  entry = seq
end
call('XADD', KEYS[5], '*', 'call', pack(EVENT, letter, charge, entry, 0 - cost, posted, now, #owner, owner, #ARGV[2], ARGV[2]),
  'record', record)
changes[2] = pack(ACCOUNT, credited, spent + cost, held - freed, seq, version)
call('MSET', unpack(changes))
if letter ~= 'X' then taken = '' end -- only an expiry is corrected later
call('PSETEX', KEYS[3], remembered, pack(ENDED, letter, charge, tokens, #owner, owner, #taken, taken))
if ended == 1 then call('ZREM', KEYS[4], ARGV[2]) end
return pack(REPLY, letter, 0, charge, posted - cost, held - freed)
