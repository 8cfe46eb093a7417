-- Sends prepared requests in turn and prints wrk's results as one line of JSON.
-- For each request, the file has a line with its length in bytes, then the request with its headers.

local requests, position = {}, 0

function init(arguments)
   local file = assert(io.open(arguments[1], "rb"))
   for length in function() return file:read("*l") end do
      requests[#requests + 1] = file:read(tonumber(length))
   end
   file:close()
end

function request()
   position = position % #requests + 1
   return requests[position]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "refused": %d, "broken": %d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
