; What the mask asks of a Lua tree.
(chunk) @block
(block) @block
(comment) @comment
(string) @string
