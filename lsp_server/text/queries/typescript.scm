; What the mask asks of a TypeScript or TSX tree.
(program) @block
(statement_block) @block
(class_body) @block
(interface_body) @block
(enum_body) @block
(switch_case) @block
(comment) @comment
(string) @string
(template_string) @string
(template_substitution) @code
(regex) @code.whole
(import_statement) @import
(decorator) @decorator
; Where code is broken the word that begins its line must do.
"import" @import.word
"@" @decorator.word
