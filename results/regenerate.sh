#!/usr/bin/env bash
# Makes everything in results/ from nothing (about ten hours on two cores): trains, exports, draws, fills the notebooks.
# What a store has already is not trained again: `STORE=mine.db bash results/regenerate.sh` goes on where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
store=${STORE:-results/sakbench.db}

for table in table2 table3 table4 table7 compute table13 table14 table17 table26 table27 table28 successors figure6; do
    sakbench run "$table" --seeds 3 --store "$store"
done
sakbench run table12 --rows Freeze --seeds 3 --store "$store"
for table in table9 table18 table19 table20 table25; do    # of one seed
    sakbench run "$table" --store "$store"
done
sakbench store export results/mini.jsonl --store "$store"
sakbench export leaderboard --csv --store results/mini.jsonl --output results/leaderboard.csv

for name in figure9 figure11; do
    sakbench run "$name" --store "$store"
done
sakbench run table12 --rows "ViT Freeze" --dataset miniworld-nyud --store "$store"
python studies/qualitative.py --runs "$(dirname "$store")/runs"
python studies/norm_maps.py --runs "$(dirname "$store")/runs"
for study in overview bias_profile methods data_percentage gates gamma similarity resolution object_size texture_shape; do
    python "studies/$study.py"
done
jupyter nbconvert --to notebook --execute --inplace notebooks/*.ipynb
