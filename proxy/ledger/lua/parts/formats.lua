-- Packed rows (little-endian, 64-bit integers; H c0 is a counted string).
-- hold:   'H', amount, checkpoint, step, deadline, tokens, account, taken; then the draft to the end.
-- ended:  'S' settled, 'R' released, 'X' expired or 'C' corrected; charge, tokens, account, taken.
-- taken:  what the hold took of each limit that is corrected at its end: field, ceiling, start of the budget's period; repeated.
-- limits: (level, at) of a token bucket in 60,000ths; (count, 0) of calls at once; (used, start of the period) of a budget.
--         The field's first letter is the kind: r requests, t tokens, c concurrent, d w m a budget of a day, week, month or all time.
local HOLD, ENDED, TAKEN, USE = '<c1i8i8i8i8i8Hc0Hc0', '<c1i8i8Hc0Hc0', '<Hc0i8i8', '<i8i8'
local pack, parse = struct.pack, struct.unpack
