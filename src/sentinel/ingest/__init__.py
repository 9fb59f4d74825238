"""
Bytes from outside become events: HTTP bodies (`events`, `unpack`), and the lines of logs.

One module reads each kind of log: `sshd`, `nginx`, `apache` (both on `accesslog`), `jsonlog`. They share `lines` (every
line is accounted for), `syslog` (heads, years, ids) and `files` (rotated, compressed and growing files). `apart` has a
process of its own read a large log.
"""
