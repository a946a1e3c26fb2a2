#!/bin/sh
# from the root of the repository: bash eval/eval.sh
exec python3 -B eval/check.py
