"""The embedded index: a folder of texts made into one file, and searched without a server. Knows no route and no request.

`build` (building) reads a folder by `documents` and `chunks` and writes a `format` file; `EmbeddedIndex` (embedded)
opens and searches one; `Shelf` (shelf) finds them by name. `Passage` and `Filter` are what every retriever speaks.
"""
