"""Figure 5 and Table 18: how much of the labelled images the methods need.

python studies/data_percentage.py --store results/mini.jsonl --output results/data_percentage.png
"""

import common

EXPERIMENTS = ("table18", "figure5")
STUDY = common.CurveStudy(__doc__, EXPERIMENTS, "results/data_percentage.png")
measured, paper, figure, main = STUDY.measured, STUDY.paper, STUDY.figure, STUDY.main

if __name__ == "__main__":
    main()
