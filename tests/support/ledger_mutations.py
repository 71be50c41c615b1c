"""Seeded defects of the ledger's scripts: each is a rule taken out. A machine that misses one proves less than it seems."""

from tests.support.ledger_runner import Mutation

MUTATIONS = (
    # hold
    Mutation("holds ignore open holds", "elseif amount > posted - held then", "elseif amount > posted then", "hold"),
    Mutation("the last microcredit is refused", "elseif amount > posted - held then", "elseif amount >= posted - held then", "hold"),
    Mutation("a repeat holds again", "if existing then\n  reply =", "if false then\n  reply =", "hold"),
    Mutation("an old version is admitted", "elseif version ~= wanted_version then", "elseif false then", "hold"),
    Mutation("another call's id is taken for a repeat", "if owner ~= account or held_tokens", "if false and held_tokens", "hold"),
    Mutation("limits refuse nothing", "if needed > left then\n", "if false then\n", "hold"),
    Mutation("a refused hold takes all the same", "== 'refused' then", "== 'refused' then call('SET', KEYS[3], pack(ACCOUNT, credited, spent, held + amount, seq, version))", "hold"),
    Mutation("a bucket overflows", "level = math.min(level, used", "level = math.max(level, used", "hold", 4),
    Mutation("a bucket fills backwards in time", "math.max(now - at, 0)", "(now - at)", "hold", 61),
    Mutation("a wait is rounded down", "number = number + divisor - 1", "number = number", "hold", 11),
    Mutation("calls at once are not counted", "used = used + 1", "used = used", "hold"),
    Mutation("a budget never begins anew", "if not used or at < start", "if not used", "hold"),
    Mutation("a week begins on Sunday", "(day + 3) % 7", "(day + 4) % 7", "hold", 4),
    Mutation("February is forgotten", "if month <= 2 then", "if month < 2 then", "hold", 26),
    Mutation("held credits are printed with 14 digits", "held + amount, seq", "tonumber(tostring(held + amount)), seq", "hold", 6),
    # settle, release, expire
    Mutation("a charge is cut to its hold", "owner, taken = parse(HOLD, value)", "owner, taken = parse(HOLD, value)\n  cost = math.min(cost, freed)", "settle"),
    Mutation("an end frees nothing", "held - freed, seq", "held, seq", "settle"),
    Mutation("an end leaves its deadline", "if ended == 1 then", "if false then", "settle"),
    Mutation("an entry has no number of its own", "seq = seq + 1", "seq = seq", "settle"),
    Mutation("an entry begins where it ended", "0 - cost, posted, now", "0 - cost, posted - cost, now", "settle"),
    Mutation("the charge of a large call is rounded", "entry, 0 - cost", "entry, 0 - tonumber(tostring(cost))", "settle"),
    Mutation("spending passes 2^53-1", "if cost > MAX - spent or spent + cost < 0", "if false", "settle", 24),
    Mutation("tokens are corrected the wrong way", "known_tokens - tokens\n", "tokens - known_tokens\n", "settle", 11),
    Mutation("a call keeps its place", "math.max(0, used - ended)", "used", "settle"),
    Mutation("a late call counts in the new period", "elseif at == period then", "else", "settle", 64),
    Mutation("a late result is charged again", "cost = charge - cost", "cost = charge", "settle", 11),
    Mutation("a late result is corrected twice", "letter, ended = 'C', 0", "letter, ended = 'X', 0", "settle", 4),
    Mutation("a late release changes nothing", "(found ~= 88 or letter == 'X')", "true", "release"),
    Mutation("an expiry does not wait", "if now < deadline then", "if false then", "expire"),
    Mutation("an expiry is free", "then charge = checkpoint elseif", "then charge = 0 elseif", "expire", 4),
    Mutation("an expiry loses the draft", "record = string.sub(value, place)", "record = ''", "expire"),
    # extend
    Mutation("an older step is applied", "if step <= last_step then", "if step < last_step then", "extend"),
    Mutation("a hold grows past the balance", "more <= posted - held and budgets_allow", "budgets_allow", "extend"),
    Mutation("a hold grows past its budget", " and budgets_allow(more)", "", "extend", 7),
    Mutation("growth is not counted in budgets", "local spare, ended = 0, 0", "local spare, ended, taken = 0, 0, ''", "extend", 4),
    Mutation("a refused step forgets the lease", "local deadline = now + lease", "local _, _, _, _, deadline = parse(HOLD, value)", "extend"),
    # credit, versions
    Mutation("a repeat credits again", "if value then", "if false then", "credit"),
    Mutation("another content is taken for a repeat", "if first_digest ~= digest or", "if", "credit", 4),
    Mutation("more is taken back than was credited", "or 0 - amount > credited", "", "credit"),
    Mutation("credits pass 2^53-1", "if amount > MAX - credited or", "if", "credit"),
    Mutation("a version falls", "if wanted > version then", "if wanted ~= version then", "set_version"),
)  # fmt: skip
