-- :checkhealth mezzotint
local M = {}

function M.check()
  local health, config = vim.health, require("mezzotint.config")
  health.start("mezzotint")
  if vim.fn.has("nvim-0.11") == 1 then health.ok("Neovim " .. tostring(vim.version()))
  else health.error("Neovim 0.11 or newer is needed") end
  local command = config.options.cmd
  if type(command) == "table" and vim.fn.executable(command[1]) == 1 then health.ok("server: " .. table.concat(command, " "))
  else health.error("the server cannot be run: " .. vim.inspect(command), { "pip install mezzotint", "or set `cmd` in setup()" }) end
  local client = require("mezzotint.client").get()
  if client then health.ok("client " .. client.id .. " runs, positions in " .. client.offset_encoding)
  else health.info("no client runs; it starts with the first file") end
  health.info(require("mezzotint").status())
end

return M
