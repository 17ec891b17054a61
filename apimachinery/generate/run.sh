#!/bin/sh
# Writes apimachinery/data anew from the pinned Kubernetes modules. Needs Go.
set -eu
cd "$(dirname "$0")"
mkdir -p ../data
exec go run . ../data
