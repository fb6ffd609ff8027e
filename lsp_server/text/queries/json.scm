; What the mask asks of a JSON tree.
(document) @block
(object) @block
(array) @block
(comment) @comment
(string) @string
