--- Raw deflate streams of zlib, for clients of permessage-deflate.
local ffi = require "ffi"
ffi.cdef [[
typedef struct {
  const unsigned char *next_in; unsigned int avail_in; unsigned long total_in;
  unsigned char *next_out; unsigned int avail_out; unsigned long total_out;
  const char *msg; void *state, *zalloc, *zfree, *opaque;
  int data_type; unsigned long adler, reserved;
} spec_z_stream;
const char *zlibVersion(void);
int deflateInit2_(spec_z_stream *s, int level, int method, int bits, int memory, int strategy,
                  const char *version, int size);
int deflate(spec_z_stream *s, int flush);
int inflateInit2_(spec_z_stream *s, int bits, const char *version, int size);
int inflate(spec_z_stream *s, int flush);
]]
local z = ffi.load("z")
local SYNC, FINISH, BUF_ERROR = 2, 4, -5
local M = {}

local function run(stream, call, text, flush)
  local out, buffer = {}, ffi.new("unsigned char[65536]")
  stream.next_in, stream.avail_in = ffi.cast("const unsigned char *", text), #text
  repeat
    stream.next_out, stream.avail_out = buffer, 65536
    local code = call(stream, flush)
    assert(code >= 0 or code == BUF_ERROR, "zlib: " .. code)
    out[#out + 1] = ffi.string(buffer, 65536 - stream.avail_out)
  until stream.avail_out > 0
  return table.concat(out)
end

--- function(message, fresh, final) -> what a frame carries; fresh: without the messages before
function M.packer(bits)
  local stream
  return function(message, fresh, final)
    if not stream or fresh then
      stream = ffi.new("spec_z_stream")
      assert(z.deflateInit2_(stream, 6, 8, -(bits or 15), 8, 0, z.zlibVersion(), ffi.sizeof(stream)) == 0)
    end
    if final then
      local bytes = run(stream, z.deflate, message, FINISH) .. "\0"
      stream = nil
      return bytes
    end
    return (run(stream, z.deflate, message, SYNC):gsub("%z%z\255\255$", ""))
  end
end

--- function(bytes, fresh) -> message
function M.unpacker(bits)
  local stream
  return function(bytes, fresh)
    if not stream or fresh then
      stream = ffi.new("spec_z_stream")
      assert(z.inflateInit2_(stream, -(bits or 15), z.zlibVersion(), ffi.sizeof(stream)) == 0)
    end
    return run(stream, z.inflate, bytes .. "\0\0\255\255", SYNC)
  end
end

return M
