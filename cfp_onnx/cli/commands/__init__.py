"""The commands, one module each, imported when its command is called.

Each has ``add_options(parser)``, which says what the command takes, and ``run(options)``, which gives its exit code.
"""
