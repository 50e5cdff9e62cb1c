# Sourced by examples/quickstart.sh and tests/run.sh: makes .venv in the project root and installs the package there.
#
#   source examples/environment.sh
#   make_environment            # the package and what it needs
#   make_environment tests,docs # the same with extras
#
# $PYTHON chooses the interpreter. Afterwards .venv/bin comes first on PATH. An environment that is there already is used;
# one whose making was interrupted is made anew.

project_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
environment=$project_root/.venv

stop() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

recent_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

find_python() {
    local candidate
    if [[ -n ${PYTHON:-} ]]; then
        recent_enough "$PYTHON" || stop "PYTHON=$PYTHON is not a Python of version 3.10 or newer"
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.10 /usr/bin/python3; do
        if recent_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    stop 'no Python of version 3.10 or newer found; install one (Debian: apt-get install python3), or set PYTHON to its path'
}

# Put pip into .venv where the interpreter came without ensurepip, as Debian's does: with the interpreter's own pip, or
# with the newest pip wheel of the package index, which can install itself.
install_pip() {
    if "$1" -m pip --version >/dev/null 2>&1 && "$1" -m pip --python "$environment/bin/python" install --quiet pip; then
        return
    fi
    "$environment/bin/python" - "$environment" <<'PYTHON'
import os, re, runpy, ssl, sys, urllib.parse, urllib.request

index = os.environ.get('PIP_INDEX_URL', 'https://pypi.org/simple').rstrip('/') + '/pip/'
context = ssl.create_default_context(cafile=os.environ.get('PIP_CERT'))
get = lambda url: urllib.request.urlopen(url, timeout=60, context=context).read()
links = re.findall(r'href="([^"]+/pip-([0-9.]+)-py3-none-any\.whl[^"]*)"', get(index).decode())
link, _ = max(links, key=lambda item: [int(part) for part in item[1].split('.')])
url = urllib.parse.urljoin(index, link).split('#')[0]
wheel = os.path.join(sys.argv[1], url.rsplit('/', 1)[1])
with open(wheel, 'wb') as file:
    file.write(get(url))
sys.path.insert(0, wheel)
sys.argv = ['pip', 'install', '--quiet', '--disable-pip-version-check', wheel]
runpy.run_module('pip', run_name='__main__')
PYTHON
}

make_venv() {
    local python
    python=$(find_python) || exit 1
    rm -rf "$environment"
    mkdir "$environment"
    touch "$environment/.unfinished"
    if ! "$python" -c 'import ensurepip; ensurepip.version()' 2>/dev/null &&
        [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        { apt-get update && apt-get install -y --no-install-recommends python3-venv; } >/dev/null 2>&1 || true
    fi
    "$python" -m venv "$environment" >/dev/null 2>&1 ||
        { "$python" -m venv --without-pip "$environment" && install_pip "$python"; }
    "$environment/bin/python" -m pip --version >/dev/null 2>&1
}

# A fingerprint of what decides about an installation: the extras, the interpreter and the requirements.
wanted() {
    {
        echo "$1"
        "$environment/bin/python" -c 'import sys; print(sys.version)'
        cat "$project_root/setup.cfg" "$project_root/pyproject.toml"
    } | sha256sum
}

make_environment() {
    local extras=${1:-} log stamp unfinished=$environment/.unfinished
    stamp=$environment/.installed-${extras:-plain}
    [[ -w $project_root ]] || stop "$project_root cannot be written to; run this in a copy of your own"

    exec 9<"$project_root/setup.cfg"
    ! command -v flock >/dev/null || flock 9 # two runs at a time: the second waits until the environment is there

    if [[ -e $unfinished ]] || [[ -e $environment/.place && $(cat "$environment/.place") != "$project_root" ]] || ! recent_enough "$environment/bin/python" ||
        ! "$environment/bin/python" -m pip --version >/dev/null 2>&1; then
        echo 'Making a Python environment in .venv ...'
        make_venv || stop 'could not make .venv; install python3-venv and pip (Debian: apt-get install python3-venv), then run this again'
    fi
    if [[ $(cat "$stamp" 2>/dev/null) != "$(wanted "$extras")" ]]; then
        echo "Installing the package${extras:+ with its extras $extras} and what it needs (a minute or two the first time) ..."
        log=$environment/install.log
        touch "$unfinished"
        "$environment/bin/python" -m pip install --disable-pip-version-check --no-input \
            --editable "$project_root${extras:+[$extras]}" >"$log" 2>&1 ||
            { tail -n 30 "$log" >&2; stop "installing failed; the whole log is $log"; }
        rm "$unfinished"
        echo "$project_root" >"$environment/.place" # scripts in .venv/bin hold this path: a moved tree needs new ones
        wanted "$extras" >"$stamp"
    fi
    exec 9<&-

    export XDG_CACHE_HOME=$environment/cache # compiled kernels, and those of the steps that take long are compiled now
    export MPLCONFIGDIR=$environment/cache/matplotlib
    mkdir -p "$MPLCONFIGDIR"
    export VIRTUAL_ENV=$environment PATH=$environment/bin:$PATH
    unset PYTHONHOME PYTHONPATH
    if [[ ! -e $XDG_CACHE_HOME/aiida-ufpnmr/kernels ]]; then
        echo 'Compiling the kernels (about a minute the first time) ...'
        ufpnmr compile >/dev/null 2>&1 || true
    fi
}

# Put GPAW into the environment, unless there is one that can be used. Where something is missing to compile it, or to make it
# fast, root gets that from the system; or GPAW itself.
make_gpaw() {
    local install="$environment/bin/python -m aiida_ufpnmr.engine.dft.gpaw_install"
    "$environment/bin/python" -c 'from aiida_ufpnmr.engine.dft import gpaw_engine as e; e.find_gpaw()' 2>/dev/null && return
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        $install
        return
    fi
    { apt-get update && apt-get install -y --no-install-recommends g++ libc6-dev python3-dev libopenblas-dev libfftw3-dev; } >/dev/null 2>&1 || true
    $install || { apt-get install -y --no-install-recommends gpaw >/dev/null 2>&1 && $install; }
}

# See to a Chromium, and to poppler's tools that read what it prints: root gets from the system what is not there.
make_chromium() {
    local missing=()
    command -v chromium || command -v chromium-browser || command -v google-chrome || command -v google-chrome-stable ||
        missing+=(chromium)
    command -v pdftotext && command -v pdftoppm && command -v pdfimages || missing+=(poppler-utils)
    [[ ${#missing[@]} != 0 ]] || return 0
    [[ $(id -u) == 0 ]] && command -v apt-get || return 1
    apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"
} >/dev/null 2>&1

# See to the services of a cluster, which tests start for themselves: root gets from the system what is not there, and none is started.
make_services() {
    local missing=()
    [[ -n $(compgen -G '/usr/lib/postgresql/*/bin/initdb') ]] || missing+=(postgresql)
    command -v rabbitmqctl || missing+=(rabbitmq-server)
    command -v slurmctld && command -v slurmd && command -v squeue || missing+=(slurm-wlm)
    command -v munged || missing+=(munge)
    [[ -x /usr/sbin/sshd ]] || missing+=(openssh-server)
    [[ ${#missing[@]} != 0 ]] || return 0
    [[ $(id -u) == 0 ]] && command -v apt-get || return 1
    apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
} >/dev/null 2>&1

# Put aiida-castep into the environment without what it depends on: castepxbin, which nothing here uses, asks for numpy < 2 and runs
# with newer ones. Everything else that aiida-castep needs here comes with AiiDA.
make_castep() {
    "$environment/bin/python" -c 'import castepinput, castepxbin; from importlib.metadata import version as v; assert v("aiida-castep") == "2.0.1"' \
        2>/dev/null && return
    "$environment/bin/python" -m pip install --disable-pip-version-check --no-input --quiet --no-deps \
        aiida-castep==2.0.1 castepinput==0.1.6 castepxbin==0.2.0 six
}
