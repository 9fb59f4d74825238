#!/bin/sh
# Check a deployment before and after it goes live; the same as `sentinel validate`, whose options it takes.
# Exit code 0: no problem; 1: some; 2: wrong usage.
here=$(cd "$(dirname "$0")/.." && pwd)
if [ -x "$here/.venv/bin/sentinel" ]; then
    sentinel="$here/.venv/bin/sentinel"
else
    sentinel=sentinel
fi
# Without a folder of its own among the arguments it is the checkout that this script lies in.
case "${1:-}" in
    "" | -*) exec "$sentinel" validate "$here" "$@" ;;
    *) exec "$sentinel" validate "$@" ;;
esac
