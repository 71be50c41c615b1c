-- Answers a repeat of a credit operation with its first answer. Expects `digest` and a `word` for the reply.
if value then
  local first_seq, before, after, at, first_digest, owner = parse('<i8i8i8i8Hc0Hc0', value)
  if first_digest ~= digest or owner ~= ARGV[2] then
    return redis.error_reply('CONFLICT this operation was asked for with another content')
  end
  return { word, 1, first_seq, before, after, at }
end
if not rows[2] then return { 'unknown_account' } end
