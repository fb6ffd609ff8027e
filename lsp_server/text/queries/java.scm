; What the mask asks of a Java tree.
(program) @block
(block) @block
(constructor_body) @block
(class_body) @block
(interface_body) @block
(enum_body) @block
(switch_block_statement_group) @block
(line_comment) @comment
(block_comment) @comment
(string_literal) @string
(character_literal) @string
(import_declaration) @import
(marker_annotation) @decorator
(annotation) @decorator
; Where code is broken the word that begins its line must do.
"import" @import.word
"@" @decorator.word
