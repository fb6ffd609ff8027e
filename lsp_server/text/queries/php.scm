; What the mask asks of a PHP tree. Text outside of the PHP tags is no code.
(program) @block
(compound_statement) @block
(declaration_list) @block
(colon_block) @block
(comment) @comment
(string) @string
(encapsed_string) @string
(heredoc) @string
(nowdoc) @string
(text) @text
(variable_name) @code.bare
(member_access_expression) @code.bare
(subscript_expression) @code.bare
(namespace_use_declaration) @import
(include_expression) @import
(include_once_expression) @import
(attribute_list) @decorator
; Where code is broken the word that begins its line must do.
["use" "include" "include_once"] @import.word
