; What the mask asks of a Ruby tree.
(program) @block
(body_statement) @block
(block_body) @block
(then) @block
(do) @block
(begin) @block
(else) @block
(comment) @comment
(string) @string
(heredoc_body) @string
(interpolation) @code
(regex) @code.whole
