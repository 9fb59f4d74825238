"""Bytes from outside become events: HTTP bodies (`events`, `unpack`) and sshd's log lines (`sshd`, on `syslog`)."""
