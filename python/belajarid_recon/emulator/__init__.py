"""An emulator of Google's Directory API for demos and tests, on loopback only.

`launch.EmulatorProcess` starts it as a child, `server.serve` runs it in this process. Nothing here imports a stage, and importing
this package does not need uvicorn: only `server.serve` does.
"""
