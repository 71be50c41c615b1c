-- Ends a hold, or corrects one that the reaper has ended: one event carries the usage record and, where credits move, the
-- ledger entry, so that they cannot part. Expects `letter`, `state`, `charge`, `tokens` (or nil: nobody counted), `record`.
if found ~= 72 and (found ~= 88 or letter == 'X') then
  -- A repeat is told what happened the first time, and the balance as it is now.
  if not found then return { 'unknown', 0, 0, posted, held } end
  local _, first_charge = parse(ENDED, value)
  local states = { [83] = 'settled', [82] = 'released', [88] = 'expired', [67] = 'corrected' }
  return { states[found], 1, first_charge, posted, held }
end

local kind, more, freed, ended, known_tokens, owner, taken, remembered = 'charge', charge, 0, 1, nil, nil, nil, 600000
if found == 72 then
  local _, amount, _, _, _, held_tokens, account_id, what = parse(HOLD, value)
  freed, known_tokens, owner, taken = amount, held_tokens, account_id, what
else
  local _, expired_charge, expired_tokens, account_id, what = parse(ENDED, value)
  kind, letter, state, ended = 'correction', 'C', 'corrected', 0
  more, known_tokens, owner, taken = charge - expired_charge, expired_tokens, account_id, what
end
if letter == 'X' or letter == 'C' then remembered = 86400000 end
if owner ~= ARGV[3] then return redis.error_reply('ARGUMENT the hold belongs to another account') end
if not rows[2] then return redis.error_reply('ACCOUNT a hold without its account') end
if more > MAX - spent or spent + more < 0 then return redis.error_reply('RANGE above 2^53-1 microcredits spent') end

tokens = tokens or known_tokens
local changes = { KEYS[2], '' }
correct_limits(changes, taken, more - freed, known_tokens - tokens, ended)
-- include: clock
if more ~= 0 then
  seq = seq + 1
  call('XADD', KEYS[5], '*', 'kind', 'call', 'account', owner, 'call', ARGV[2], 'state', state, 'charge', charge,
    'seq', seq, 'entry', kind, 'amount', 0 - more, 'before', posted, 'after', posted - more, 'at', now, 'record', record)
else
  call('XADD', KEYS[5], '*', 'kind', 'call', 'account', owner, 'call', ARGV[2], 'state', state, 'charge', charge,
    'at', now, 'record', record)
end
changes[2] = pack(ACCOUNT, credited, spent + more, held - freed, seq, version)
call('MSET', unpack(changes))
if letter ~= 'X' then taken = '' end -- only an expiry is corrected later
call('PSETEX', KEYS[3], remembered, pack(ENDED, letter, charge, tokens, #owner, owner, #taken, taken))
if ended == 1 then call('ZREM', KEYS[4], ARGV[2]) end
return { state, 0, charge, posted - more, held - freed }
