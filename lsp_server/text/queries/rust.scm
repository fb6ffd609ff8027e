; What the mask asks of a Rust tree.
(source_file) @block
(block) @block
(declaration_list) @block
(field_declaration_list) @block
(enum_variant_list) @block
(match_block) @block
(line_comment) @comment
(block_comment) @comment
(string_literal) @string
(raw_string_literal) @string
(char_literal) @string
(use_declaration) @import
(attribute_item) @decorator
; Where code is broken the word that begins its line must do.
"use" @import.word
