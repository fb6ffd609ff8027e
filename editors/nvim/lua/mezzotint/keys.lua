-- The keys: each acts on the suggestion on screen, and does what it did before where there is none.
local config = require("mezzotint.config")
local ghost = require("mezzotint.ghost")

local M = {}

local before = {} -- key -> the user's own mapping, or false

-- What the key did before us.
local function fall_through(key, mapping)
  if not mapping then return vim.keycode(key) end
  local result
  if mapping.callback then
    result = mapping.callback()
    if mapping.expr == 0 then return "" end
  else
    result = mapping.expr == 1 and vim.api.nvim_eval(mapping.rhs) or mapping.rhs
  end
  local keys = result or ""
  if mapping.expr == 0 or mapping.replace_keycodes == 1 then keys = vim.keycode(keys) end
  if mapping.noremap == 1 then return keys end
  vim.api.nvim_feedkeys(keys, "mi", false) -- such as <Plug>(...), which is itself mapped
  return ""
end

--- Map the keys, once.
function M.map()
  for action, key in pairs(config.options.keys) do
    if key and before[key] == nil then
      local found = vim.fn.maparg(key, "i", false, true)
      before[key] = next(found) and found.buffer == 0 and found or false -- a buffer's own mapping hides ours anyway
      vim.keymap.set("i", key, function()
        if action ~= "complete" and not ghost.get(0) then return fall_through(key, before[key]) end
        vim.schedule(require("mezzotint.accept")[action]) -- an expression must not change the text
        return ""
      end, { expr = true, replace_keycodes = false, desc = "Mezzotint: " .. action })
    end
  end
end

--- Give the keys back.
function M.unmap()
  for key, mapping in pairs(before) do
    pcall(vim.keymap.del, "i", key)
    if mapping then vim.fn.mapset("i", false, mapping) end
  end
  before = {}
end

return M
