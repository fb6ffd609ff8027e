require("mezzotint").init()
