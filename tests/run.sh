#!/usr/bin/env bash
# Runs the whole test suite: makes .venv if it is missing, puts GPAW and aiida-castep into it, sees to a browser, then pytest, which
# also builds the documentation.
#
#   bash tests/run.sh                  # everything
#   bash tests/run.sh -m 'not slow'    # arguments go to pytest
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../examples/environment.sh"
make_environment tests,docs
make_castep || stop 'no aiida-castep, which some tests need; see above'
[[ -n ${UFPNMR_WITHOUT_GPAW:-} ]] || make_gpaw ||
    stop 'no GPAW, which some tests need; see above, or set UFPNMR_WITHOUT_GPAW=1 to skip those'
if [[ -z ${UFPNMR_WITHOUT_CHROMIUM:-} ]] && ! make_chromium; then
    [[ $(id -u) != 0 ]] || stop 'no chromium or poppler-utils, which some tests need; set UFPNMR_WITHOUT_CHROMIUM=1 to skip those'
    echo 'No chromium or poppler-utils, which root could install: the tests of the report in a browser are skipped.'
fi

AIIDA_PATH=$(mktemp -d)
export AIIDA_PATH
trap 'rm -rf "$AIIDA_PATH"' EXIT

cd "$project_root"
python -m pytest "$@"
