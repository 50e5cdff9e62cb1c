#!/usr/bin/env bash
# From a glass of a thousand atoms to its soft ions: two glasses of Li2S and P2S5, one packed and one quenched from a melt,
# dynamics of both, a model of softness judged on the glass that it has not seen, and the barriers of soft and hard ions.
#
#   bash examples/softness.sh                      # about 25 minutes of computing time
#   UNITS=PS4:8,P2S7:8 PS=20 HOPS=10 bash examples/softness.sh   # small, a few minutes
#   POTENTIAL=mine.h5 IONS=Na UNITS=PS4:64 bash examples/softness.sh
#
# Everything goes to examples/softness-output. What is finished is kept: the same command goes on where it was stopped.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
make_environment

units=${UNITS:-PS4:48,P2S7:48}
ions=${IONS:-Li}
density=${DENSITY:-1.83} # g/cm³
temperature=${TEMPERATURE:-300} # K
picoseconds=${PS:-100}
hops=${HOPS:-150}
output=${OUTPUT:-$project_root/examples/softness-output}
steps=$((picoseconds * 500)) # of 2 fs

mkdir -p "$output"
potential=$output/potential.h5
if [[ -n ${POTENTIAL:-} ]]; then
    cp "$POTENTIAL" "$potential"
elif [[ ! -e $potential ]]; then # as in the quickstart
    python -c 'import sys, yaml; print(yaml.safe_dump(yaml.safe_load(open(sys.argv[1]))["fit_potential"]["settings"]))' \
        "$project_root/examples/quickstart.yaml" >"$output/settings.yaml"
    ufpnmr fit-potential "$project_root/examples/data/li3ps4-pbe-gpaw-v6.extxyz" --settings "$output/settings.yaml" -o "$potential"
fi
cd "$output"

# 1. two glasses: one packed of whole units and annealed, one of the same units after a melt and a quench. Status 3 says that
#    units broke or joined, as bridges do at 700 K; the table has the counts, and the structure is written all the same.
[[ -e packed.extxyz ]] || ufpnmr build glass --units "$units" --ions "$ions" --density "$density" --seed 11 \
    --potential potential.h5 --anneal-ps 20 --temperature 700 -o packed.extxyz || [[ $? == 3 ]]
[[ -e quenched.extxyz ]] || ufpnmr melt-quench potential.h5 --start packed.extxyz --melt-temperature 800 --quench-rate 10 \
    --hold-ps 20 --anneal-ps 10 --timestep 2 --seed 14 --restart -o quenched.extxyz

# 2. dynamics
for glass in packed quenched; do
    ufpnmr md potential.h5 $glass.extxyz --temperature "$temperature" --equilibrate 5000 --steps "$steps" --every 50 --seed 1 \
        --position-rounding 0.001 --restart -o $glass.h5
done

# 3. who moves, and what tells it
ufpnmr analyse rearrangements packed.h5 --species "$ions" --window-ps 20 --plot rearrangements.png --json rearrangements.json
ufpnmr fit-softness packed.h5 --withhold quenched.h5 --species "$ions" --window-ps 20 -o softness-model.h5 --plot fit.png --json fit.json

# 4. softness of every ion, and where the soft ones are
ufpnmr analyse softness quenched.h5 --model softness-model.h5 -o softness.h5 --plot softness.png
ufpnmr view quenched.h5 --frame 0 --colour-by softness.h5:softness -o view.html --plot slice.png --slice-angstrom 5
ufpnmr softness-correlations packed.h5 quenched.h5 --model softness-model.h5 --potential potential.h5 \
    --plot correlations.png --json correlations.json

# 5. barriers of soft and hard ions
ufpnmr barriers quenched.h5 potential.h5 --species "$ions" --max-hops "$hops" --jobs "$(nproc)" --softness softness.h5 \
    -o barriers.json --plot barriers.png
