--- Finds globals that a script reads although nobody defines them, without running it.
--
-- LuaJIT tells its bytecode through jit.util: each read of a global is one instruction, GGET, whose
-- constant is the name.  The number of that instruction is learned from a function that reads one.
local util = require "jit.util"
local bit = require "bit"

local M = {}

local function opcode_of(fn, wanted)
  for pc = 1, util.funcinfo(fn).bytecodes - 1 do
    local ins = util.funcbc(fn, pc)
    local constant = util.funck(fn, -bit.rshift(ins, 16) - 1)
    if constant == wanted then return bit.band(ins, 0xff) end
  end
end

local read_global = opcode_of(loadstring("return a_global_that_is_read"), "a_global_that_is_read")

local function scan(proto, found)
  local info = util.funcinfo(proto)
  for pc = 1, info.bytecodes - 1 do
    local ins = util.funcbc(proto, pc)
    if bit.band(ins, 0xff) == read_global then
      found[#found + 1] = {
        name = util.funck(proto, -bit.rshift(ins, 16) - 1),
        line = util.funcinfo(proto, pc).currentline,
      }
    end
  end
  for i = -1, -info.gcconsts, -1 do
    local constant = util.funck(proto, i)
    if type(constant) == "proto" then scan(constant, found) end
  end
end

--- The globals that a compiled chunk and the functions in it read.
-- @return list of { name, line } in the order of lines
function M.reads(chunk)
  local found = {}
  scan(chunk, found)
  table.sort(found, function(a, b) return a.line < b.line end)
  return found
end

return M
