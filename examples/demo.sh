#!/bin/sh
# The main job on real input: two agents propose, one trainer measures, and the store says what came of it.
# Usage: sh examples/demo.sh [DIRECTORY]. Run it again to go on with what is there; Ctrl-C loses nothing.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=${1:-demo}

if [ ! -e "$project" ]; then
    cp -R "$here/tinygpt" "$project"
fi
cd "$project"
if [ ! -e .dag/data.mdb ]; then
    dag init
fi

echo "Two agents make 12 experiments of about 13 s each; one trainer measures them."
dag agent --agents 2 --experiments 12 --train

echo
dag frontier --top 10
echo
dag tree
echo
dag fsck --full
echo
dag log --plot progress.png
