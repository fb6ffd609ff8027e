; What the mask asks of a C# tree.
(compilation_unit) @block
(block) @block
(declaration_list) @block
(enum_member_declaration_list) @block
(switch_section) @block
(comment) @comment
(string_literal) @string
(verbatim_string_literal) @string
(interpolated_string_expression) @string
(raw_string_literal) @string
(character_literal) @string
(interpolation) @code
(using_directive) @import
(attribute_list) @decorator
; Where code is broken the word that begins its line must do.
"using" @import.word
