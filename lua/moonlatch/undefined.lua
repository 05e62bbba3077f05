--- Finds the globals that a script reads and writes, without running it.
--
-- LuaJIT tells its bytecode through jit.util: each read of a global is one instruction, GGET, each
-- write another one, GSET, whose constant is the name.  The numbers of these instructions are learned
-- from functions that have one.
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

local read_global = opcode_of(loadstring("return a_global"), "a_global")
local write_global = opcode_of(loadstring("a_global = 1"), "a_global")

local function scan(proto, opcode, found)
  local info = util.funcinfo(proto)
  for pc = 1, info.bytecodes - 1 do
    local ins = util.funcbc(proto, pc)
    if bit.band(ins, 0xff) == opcode then
      found[#found + 1] = {
        name = util.funck(proto, -bit.rshift(ins, 16) - 1),
        line = util.funcinfo(proto, pc).currentline,
      }
    end
  end
  for i = -1, -info.gcconsts, -1 do
    local constant = util.funck(proto, i)
    if type(constant) == "proto" then scan(constant, opcode, found) end
  end
end

local function all(chunk, opcode)
  local found = {}
  scan(chunk, opcode, found)
  table.sort(found, function(a, b) return a.line < b.line end)
  return found
end

--- The globals that a compiled chunk and the functions in it read.
-- @return list of { name, line } in the order of lines
function M.reads(chunk) return all(chunk, read_global) end

--- The globals that they write, in the same form.
function M.writes(chunk) return all(chunk, write_global) end

return M
