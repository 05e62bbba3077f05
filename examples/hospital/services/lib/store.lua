--- The items of a resource, shared by all workers; a reload keeps them.
--
-- The items of the start are constants, the shared dict holds what has changed since: new and
-- replaced items as JSON under their id, and false under the id of a start item that was deleted.
-- Nothing has to be filled in first, so no worker can see it half done.
local gw = require "moonlatch"

local M = {}
local Store = {}
Store.__index = Store

local ITEMS_MAX = 1000 -- a list is made within one CPU budget of a script
local DIGITS_MAX = 9

--- @param name string of the shared dict; @param letter string, ids are <letter><number>
-- @param start list of the items that are there at the start
function M.new(name, letter, start)
  local self = setmetatable({ dict = gw.shared(name), letter = letter, count = #start, start = {} }, Store)
  for n, item in ipairs(start) do
    item.id = letter .. n
    self.start[item.id] = gw.json.encode(item)
  end
  return self
end

-- The number in an id of this resource, or nil.
function Store:number(id)
  local at = #self.letter
  if id:sub(1, at) ~= self.letter or #id > at + DIGITS_MAX then return nil end
  return tonumber(id:match("^%d+$", at + 1))
end

--- @return the item, or nil
function Store:get(id)
  if not self:number(id) then return nil end
  local text = self.dict:get(id)
  if text == nil then text = self.start[id] end
  return text and gw.json.decode(text) or nil
end

--- @return true, or nil and "too_large"
function Store:set(item)
  return self.dict:set(item.id, gw.json.encode(item))
end

--- Gives item an id that nobody else gets.
-- @return true, or nil and "full" or "too_large"
function Store:add(item)
  if #self.dict:keys(ITEMS_MAX + 1) > ITEMS_MAX then return nil, "full" end
  local number = self.dict:incr("last", 1, { init = self.count })
  item.id = ("%s%d"):format(self.letter, number)
  return self:set(item)
end

function Store:delete(id)
  if self.start[id] then return self.dict:set(id, false) end
  self.dict:delete(id)
end

--- All items in the order of their numbers.
function Store:all()
  local numbers, items = {}, {}
  for n = 1, self.count do numbers[n] = n end
  for _, key in ipairs(self.dict:keys(2 * ITEMS_MAX)) do
    local number = self:number(key)
    if number and number > self.count then numbers[#numbers + 1] = number end
  end
  table.sort(numbers)
  for _, number in ipairs(numbers) do
    items[#items + 1] = self:get(("%s%d"):format(self.letter, number))
  end
  return items
end

return M
