"""The file that declares everything: read, checked, and turned into a Declaration. Knows no store.

reading      YAML → values with their places (places), its traps refused (scalars). files: bounds and folders.
loading      The file and the files it names → Declaration, or every problem at once.
checks       What the sections say about each other. schema: the file's JSON Schema. export: a store as a config file.
"""
