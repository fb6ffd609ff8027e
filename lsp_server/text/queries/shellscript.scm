; What the mask asks of a Bash tree.
(program) @block
(compound_statement) @block
(do_group) @block
(if_statement) @block
(case_item) @block
(comment) @comment
(string) @string
(raw_string) @string
(ansi_c_string) @string
(heredoc_body) @string
(command_substitution) @code
(expansion) @code
(simple_expansion) @code.bare
