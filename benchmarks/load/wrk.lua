-- Every request differs in trace, span and request id; keys come in turn. Concatenation is one string creation:
-- wrk.format would build a table of headers per request on the core that the origin shares.
local keys = { @KEYS@ }
local count = #keys
local number = 0
local format = string.format

request = function()
  number = number + 1
  local n = format("%08x", number)
  local key = keys[number % count + 1]
  return @EXPRESSION@
end

done = function(summary, latency)
  local e = summary.errors
  io.write(format(
    '\n@MARK@{"requests": %d, "microseconds": %d, "bytes": %.0f, "connect": %d, "read": %d, "write": %d, '
      .. '"status": %d, "timeout": %d}\n',
    summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.status, e.timeout))
end
