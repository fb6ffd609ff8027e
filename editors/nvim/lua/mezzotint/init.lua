-- The plugin's face: `setup`, `:Mezzotint`, `status`. Everything else is loaded when first needed.
local M = {}

--- Take the user's options; see `lua/mezzotint/config.lua`.
function M.setup(options)
  require("mezzotint.config").set(options or {})
end

--- What the status line shows: "mezzotint: idle", "" before the first file.
function M.status()
  return package.loaded["mezzotint.client"] and require("mezzotint.client").status() or ""
end

local commands = {
  enable = function() require("mezzotint.client").set_enabled(true) end,
  disable = function() require("mezzotint.client").set_enabled(false) end,
  toggle = function() require("mezzotint.config").toggle_buffer(0) end,
  toggle_filetype = function() require("mezzotint.config").toggle_filetype(vim.bo.filetype) end,
  complete = function() require("mezzotint.accept").complete() end,
  snooze = function(minutes) require("mezzotint.client").snooze(minutes == "" and 5 or tonumber(minutes) or minutes) end,
  restart = function() require("mezzotint.client").restart() end,
  status = function() vim.notify(M.status()) end,
}

--- Called by plugin/mezzotint.lua: the command, and the server once a file is opened.
function M.init()
  if vim.g.loaded_mezzotint or vim.fn.has("nvim-0.11") == 0 then return end
  vim.g.loaded_mezzotint = true
  vim.api.nvim_create_user_command("Mezzotint", function(call)
    local name, rest = call.args:match("^(%S+)%s*(.*)$")
    local run = commands[name]
    if run then run(rest) else vim.notify("Mezzotint: no such command: " .. call.args, vim.log.levels.ERROR) end
  end, { nargs = "+", complete = function() return vim.tbl_keys(commands) end, desc = "Mezzotint" })
  vim.api.nvim_create_autocmd("FileType", {
    group = vim.api.nvim_create_augroup("mezzotint", {}),
    desc = "Start Mezzotint",
    callback = function(event) require("mezzotint.client").attach(event.buf) end,
  })
  if vim.v.vim_did_enter == 1 then vim.schedule(function() require("mezzotint.client").attach_all() end) end
end

return M
