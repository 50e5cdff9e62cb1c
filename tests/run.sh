#!/usr/bin/env bash
# Runs the whole test suite: makes .venv if it is missing, puts GPAW and aiida-castep into it, then pytest, which also builds the
# documentation.
#
#   bash tests/run.sh                  # everything
#   bash tests/run.sh -m 'not slow'    # arguments go to pytest
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../examples/environment.sh"
make_environment tests,docs
make_castep || stop 'no aiida-castep, which some tests need; see above'
[[ -n ${UFPNMR_WITHOUT_GPAW:-} ]] || make_gpaw ||
    stop 'no GPAW, which some tests need; see above, or set UFPNMR_WITHOUT_GPAW=1 to skip those'

AIIDA_PATH=$(mktemp -d)
export AIIDA_PATH
trap 'rm -rf "$AIIDA_PATH"' EXIT

cd "$project_root"
python -m pytest "$@"
