"""
Bytes from outside become events: HTTP bodies (`events`, `unpack`), and the lines of logs.

One module reads each kind of log: `sshd`, `nginx`, `apache` (both on `accesslog`), `jsonlog`. They share `lines` (every
line is accounted for), `syslog` (heads, years, ids) and `files` (rotated, compressed and growing files). `logs` says
which of them reads a log, `parts` gives it in parts, and `apart` has a process of its own do so for a large one.
"""
