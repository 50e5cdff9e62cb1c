#!/usr/bin/env bash
# Runs the test suite on all cores: makes .venv if it is missing, puts GPAW and aiida-castep into it, sees to a browser and to services,
# compiles the kernels, then pytest.
#
#   bash tests/run.sh                  # what a change should pass, in ten minutes on two cores; says what it leaves out
#   bash tests/run.sh --all            # everything, the documentation included, in an hour or more
#   bash tests/run.sh tests/engine     # any other arguments go to pytest as they are
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
if [[ -z ${UFPNMR_WITHOUT_SERVICES:-} ]] && ! make_services; then
    [[ $(id -u) != 0 ]] || stop 'no PostgreSQL, RabbitMQ, Slurm or SSH server, which some tests need; set UFPNMR_WITHOUT_SERVICES=1 to skip those'
    echo 'No PostgreSQL, RabbitMQ, Slurm or SSH server, which root could install: the tests on a cluster are skipped.'
fi

# One process more than there are cores, since tests of daemons wait. The files are begun in their order, these first.
side_by_side=(-n "$(($(nproc) + 1))" --dist loadfile --no-loadscope-reorder)
case ${1:-} in
    '') arguments=("${side_by_side[@]}" -m 'not slow') ;;
    --all) arguments=("${side_by_side[@]}" --durations=60 "${@:2}") ;;
    *) arguments=("$@") ;;
esac

cd "$project_root"
ufpnmr compile
OPENBLAS_NUM_THREADS=1 python -m pytest "${arguments[@]}"
