#!/usr/bin/env bash
# From the labels of Li3PS4 to every run that the scripts beside this one draw: models, glasses, and β, γ and three glasses at four or five
# temperatures each, 1 ns of each: ten hours of a core. Given again after a stop, it makes what lacks.
#
#   bash examples/results/li3ps4.sh FOLDER
#   python examples/results/compared.py FOLDER/li3ps4-*.aiida
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
make_environment
[[ $# == 1 ]] || stop 'give the folder that is to hold the records and the archive'
mkdir -p "$1/aiida/.aiida"
folder=$(cd "$1" && pwd -P)
export AIIDA_PATH=$folder/aiida
data=$project_root/examples/data/li3ps4-pbe-gpaw-v6.extxyz

number() { sed -n 's/^[A-Za-z]*WorkChain #//p' "$@"; }
output() { verdi process show "$1" | awk -v name="$2" '$1 == name {print $2}'; }

aiida-ufpnmr setup
if [[ ! -e $folder/models.txt ]]; then
    aiida-ufpnmr launch pipeline "$data" --structure-index 14 --temperature 900 --protocol fast \
        --overrides "$project_root/examples/quickstart.yaml" | tee "$folder/launch.txt"
    mv "$folder/launch.txt" "$folder/models.txt"
fi
pipeline=$(number "$folder/models.txt")
potential=$(output "$pipeline" potential)
efg_model=$(output "$pipeline" efg_model)

for seed in 1 2 3; do
    [[ -e $folder/potential.h5 ]] || verdi node repo cat "$potential" potential.h5 >"$folder/potential.h5"
    [[ -e $folder/glass-$seed.extxyz ]] ||
        ufpnmr build glass --units PS4:48 --ions Li --density 1.80 --seed "$seed" --potential "$folder/potential.h5" \
            --anneal-ps 2 --temperature 700 -o "$folder/glass-$seed.extxyz"
done

# The law of a material, and in a run at 300 K what the tensors look like, too.
settings=$project_root/examples/results/li3ps4
cat "$settings.yaml" "$settings-cold.yaml" >"$folder/cold.yaml"
models=(--potential "$potential" --efg-model "$efg_model")
launched() { # name, command, words; a law that was not found is an answer, too, and the runs are there
    aiida-ufpnmr launch "${@:2}" "${models[@]}" | tee "$folder/$1-$2.txt" || true
    verdi node label --force --label "$1" "$(number "$folder/$1-$2.txt")"
}
law() { launched "$1" arrhenius "${@:3}" --temperatures "$2" --overrides "$settings.yaml"; }
cold() { launched "$1" dynamic-nmr "${@:2}" --temperature 300 --overrides "$folder/cold.yaml"; }
archive() { cat "$folder/$1"*-*.txt | number | xargs aiida-ufpnmr archive create "$pipeline" --slim -o "$folder/li3ps4-$1.aiida"; }

cold beta "$data" --index 0
law beta 500,600,700,800 "$data" --index 0
archive beta
cold gamma "$data" --index 65
law gamma 600,700,800,900 "$data" --index 65
archive gamma
cold glass-1 "$folder/glass-1.extxyz"
for seed in 1 2 3; do
    law "glass-$seed" 400,500,600,700 "$folder/glass-$seed.extxyz"
done
archive glass
