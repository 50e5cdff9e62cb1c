#!/usr/bin/env bash
# From 565 labelled structures of Li3PS4 and its glasses to a decay time, as small as shows everything: fits a potential and an EFG model, runs
# molecular dynamics of β-Li3PS4, and writes figures, a report and an archive to examples/quickstart-output.
#
#   bash examples/quickstart.sh
#
# No service has to run. AiiDA keeps its records in the output folder, not in your home. A second run adds a second result.
set -euo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
make_environment

data=$project_root/examples/data/li3ps4-pbe-gpaw-v6.extxyz
settings=$project_root/examples/quickstart.yaml # how the models are fitted
start=14       # a frame of β-Li3PS4 at 900 K
temperature=900 # K: hot, so that ions hop often enough in a short run
output=$project_root/examples/quickstart-output
export AIIDA_PATH=$output/aiida

mkdir -p "$AIIDA_PATH/.aiida" # AiiDA warns where it has to make it
if [[ $(cat "$output/place" 2>/dev/null || echo "$output") != "$output" ]]; then
    stop "$output was made in another place, which its records still name; move it away and run this again"
fi
echo "$output" >"$output/place"

aiida-ufpnmr setup
echo
aiida-ufpnmr launch pipeline "$data" --structure-index "$start" --temperature "$temperature" --protocol fast \
    --overrides "$settings" | tee "$output/launch.txt"
workflow=$(sed -n 's/^PipelineWorkChain #//p' "$output/launch.txt")
aiida-ufpnmr report "$workflow" -o "$output" >/dev/null
mv "$output/index.html" "$output/report.html"
aiida-ufpnmr archive create "$workflow" -o "$output/quickstart.aiida" >/dev/null

cat <<END

In $output:
  report.html       the result on one page, with its figures (*.png) and where it comes from
  quickstart.aiida  the same with every step and every input, for others to import

What to try next, after
  cd $(printf %q "$project_root")
  source .venv/bin/activate && export AIIDA_PATH=\$PWD/examples/quickstart-output/aiida

  $(printf %-38s "aiida-ufpnmr query labels $workflow") which structures the result rests on
  $(printf %-38s "verdi process status $workflow") what ran
  aiida-ufpnmr launch pipeline --help    other temperatures, longer runs, your own data
  ufpnmr --help                          the same steps as plain commands, without AiiDA
END
